#include "kernels/scratch.h"

#include <array>
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

}  // namespace

float* ThreadScratch(Scratch purpose, int64_t floats) {
  thread_local std::array<Buffer, 5> buffers;  // one per Scratch
  Buffer& buffer = buffers[static_cast<size_t>(purpose)];
  if (buffer.floats < floats) {
    buffer.data.reset();
    buffer.data.reset(static_cast<float*>(::operator new[](static_cast<size_t>(floats) * sizeof(float), kAlignment)));
    buffer.floats = floats;
  }
  return buffer.data.get();
}

}  // namespace qzo::kernels
