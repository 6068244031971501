// Memory of a Gpu.
#ifndef QZO_MODEL_GRAPH_GPU_MEMORY_H_
#define QZO_MODEL_GRAPH_GPU_MEMORY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "kernels/cuda/backend.h"

namespace qzo::model {

// A number that no other memory of the process has: graphs hold addresses (Gpu::RunGraph).
inline int64_t NewGraphMemory() {
  static std::atomic<int64_t> last{0};
  return ++last;
}

// Owned, on the device or page-locked on the host.
class GpuMemory {
 public:
  enum class Where : bool { kDevice, kHost };

  GpuMemory() = default;
  // `gpu` must outlive the memory. Possible errors: those of Gpu::Allocate.
  static absl::StatusOr<GpuMemory> Allocate(kernels::cuda::Gpu* gpu, size_t bytes, Where where = Where::kDevice) {
    QZO_ASSIGN_OR_RETURN(std::byte * data, where == Where::kDevice ? gpu->Allocate(bytes) : gpu->AllocateHost(bytes));
    return GpuMemory(gpu, data, bytes, where);
  }
  GpuMemory(GpuMemory&& other) noexcept { *this = std::move(other); }
  GpuMemory& operator=(GpuMemory&& other) noexcept {
    std::swap(gpu_, other.gpu_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(where_, other.where_);
    return *this;
  }
  ~GpuMemory() {
    if (data_ == nullptr) return;
    where_ == Where::kDevice ? gpu_->Free(data_) : gpu_->FreeHost(data_);
  }

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  template <typename T>
  T* at(size_t offset = 0) const {
    return reinterpret_cast<T*>(data_ + offset);
  }

 private:
  GpuMemory(kernels::cuda::Gpu* gpu, std::byte* data, size_t bytes, Where where)
      : gpu_(gpu), data_(data), bytes_(bytes), where_(where) {}

  kernels::cuda::Gpu* gpu_ = nullptr;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  Where where_ = Where::kDevice;
};

// Places arrays one after the other, 256-byte aligned.
class GpuLayout {
 public:
  template <typename T>
  size_t Add(int64_t count) {
    const size_t begin = bytes_;
    bytes_ += (static_cast<size_t>(count) * sizeof(T) + 255) / 256 * 256;
    return begin;
  }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_ = 0;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_GPU_MEMORY_H_
