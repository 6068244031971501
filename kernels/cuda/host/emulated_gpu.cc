#include "kernels/cuda/host/emulated_gpu.h"

#include <algorithm>
#include <new>
#include <string>

#include "kernels/cuda/launch.h"

namespace qzo::kernels::cuda {
namespace {

constexpr std::align_val_t kAlignment{256};
constexpr std::byte kNaN{0xff};

struct Stream {
  emulator::Order order;
  absl::Status status;
};

struct EmulatedLauncher {
  template <auto kKernel, typename Params>
  static void Run(void* to, int grid_x, int grid_y, int threads, int shared_bytes, const Params& params) {
    Stream& stream = *static_cast<Stream*>(to);
    stream.status.Update(emulator::Launch(stream.order, {grid_x, grid_y}, threads, static_cast<size_t>(shared_bytes),
                                          [&params] { kKernel(params); }));
  }
};

class EmulatedGpu final : public Gpu {
 public:
  explicit EmulatedGpu(emulator::Order order) : stream_{.order = order, .status = absl::OkStatus()} {}

  absl::StatusOr<std::unique_ptr<Gpu>> Share() override { return MakeEmulatedGpu(stream_.order); }

  const std::string& name() const override { return name_; }
  const std::string& architecture() const override { return name_; }
  int64_t free_bytes() const override { return int64_t{1} << 40; }

  absl::StatusOr<std::byte*> Allocate(size_t bytes) override {
    std::byte* memory = static_cast<std::byte*>(::operator new[](bytes, kAlignment));
    std::fill_n(memory, bytes, kNaN);
    return memory;
  }
  void Free(std::byte* memory) override { ::operator delete[](memory, kAlignment); }
  absl::StatusOr<std::byte*> AllocateHost(size_t bytes) override { return Allocate(bytes); }
  void FreeHost(std::byte* memory) override { Free(memory); }

  void Upload(std::byte* to, const std::byte* from, size_t bytes) override { std::copy_n(from, bytes, to); }
  void Download(std::byte* to, const std::byte* from, size_t bytes) override { std::copy_n(from, bytes, to); }
  absl::Status Wait() override { return stream_.status; }

  const GpuOps& ops() const override { return Launches<EmulatedLauncher>::kOps; }
  void* stream() override { return &stream_; }
  void RunGraph(int64_t, const std::function<void()>& launch) override { launch(); }

 private:
  const std::string name_ = "emulator";
  Stream stream_;
};

}  // namespace

std::unique_ptr<Gpu> MakeEmulatedGpu(emulator::Order order) { return std::make_unique<EmulatedGpu>(order); }

}  // namespace qzo::kernels::cuda
