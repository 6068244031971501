#include "kernels/scratch.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <new>

namespace qzo::kernels {
namespace {

constexpr std::align_val_t kAlignment{64};

struct Free {
  void operator()(float* p) const { ::operator delete[](p, kAlignment); }
};

struct Buffer {
  std::unique_ptr<float, Free> data;
  int64_t floats = 0;
};

constexpr size_t kPurposes = 6;

thread_local std::array<Buffer, kPurposes> buffers;
std::array<std::atomic<int64_t>, kPurposes> largest;  // floats that any thread has asked for

void Grow(Buffer* buffer, int64_t floats) {
  buffer->data.reset();
  buffer->data.reset(static_cast<float*>(::operator new[](static_cast<size_t>(floats) * sizeof(float), kAlignment)));
  buffer->floats = floats;
}

}  // namespace

float* ThreadScratch(Scratch purpose, int64_t floats) {
  const auto i = static_cast<size_t>(purpose);
  if (buffers[i].floats < floats) {
    for (int64_t seen = largest[i]; seen < floats && !largest[i].compare_exchange_weak(seen, floats);) {
    }
    Grow(&buffers[i], floats);
  }
  return buffers[i].data.get();
}

void GrowThreadScratch() {
  for (size_t i = 0; i < kPurposes; ++i) {
    const int64_t floats = largest[i].load(std::memory_order_relaxed);
    if (buffers[i].floats < floats) Grow(&buffers[i], floats);
  }
}

}  // namespace qzo::kernels
