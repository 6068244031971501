#include "kernels/cuda/host/emulated_gpu.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/cuda/launch.h"

namespace qzo::kernels::cuda {
namespace {

constexpr std::align_val_t kAlignment{256};
constexpr std::byte kNaN{0xff};

// Launches, with the parameters that they were recorded with.
using Graph = std::vector<std::function<absl::Status()>>;

struct Device {
  std::atomic<bool> lost{false};
};

struct Stream {
  emulator::Order order;
  absl::Status status;
  Graph* recording = nullptr;
};

struct EmulatedLauncher {
  template <auto kKernel, int kSharedBytes, typename Params>
  static void Run(void* to, int grid_x, int grid_y, int threads, const Params& params) {
    Stream& stream = *static_cast<Stream*>(to);
    auto launch = [order = stream.order, grid_x, grid_y, threads, params] {
      return emulator::Launch(order, {grid_x, grid_y}, threads, kSharedBytes, [&params] { kKernel(params); });
    };
    if (stream.recording == nullptr) {
      stream.status.Update(launch());
    } else {
      stream.recording->push_back(std::move(launch));
    }
  }
};

class EmulatedGpu final : public Gpu {
 public:
  EmulatedGpu(emulator::Order order, std::shared_ptr<Device> device)
      : device_(std::move(device)), stream_{.order = order, .status = absl::OkStatus()} {}

  absl::StatusOr<std::unique_ptr<Gpu>> Share() override {
    QZO_RETURN_IF_ERROR(Health());
    return std::make_unique<EmulatedGpu>(stream_.order, device_);
  }
  void Lose() { device_->lost = true; }

  const std::string& name() const override { return name_; }
  const std::string& architecture() const override { return name_; }
  int64_t free_bytes() const override { return int64_t{1} << 40; }

  absl::StatusOr<std::byte*> Allocate(size_t bytes) override {
    MayNotBeRecorded("an allocation");
    if (bytes == 0) return absl::InternalError("emulated GPU: an allocation of nothing");
    std::byte* memory = static_cast<std::byte*>(::operator new[](bytes, kAlignment));
    std::fill_n(memory, bytes, kNaN);
    return memory;
  }
  void Free(std::byte* memory) override {
    MayNotBeRecorded("a release of memory");
    ::operator delete[](memory, kAlignment);
  }
  absl::StatusOr<std::byte*> AllocateHost(size_t bytes) override { return Allocate(bytes); }
  void FreeHost(std::byte* memory) override { Free(memory); }

  void Upload(std::byte* to, const std::byte* from, size_t bytes) override {
    MayNotBeRecorded("an upload");
    std::copy_n(from, bytes, to);
    uploads_.push_back({from, {from, from + bytes}});
  }
  void Download(std::byte* to, const std::byte* from, size_t bytes) override {
    MayNotBeRecorded("a download");
    downloads_.push_back({to, {from, from + bytes}});
    CheckUploads([&](const std::byte* at, size_t size) { return at < to + bytes && to < at + size; });
    std::fill_n(to, bytes, kNaN);
  }
  absl::Status Wait() override {
    MayNotBeRecorded("a wait");
    CheckUploads([](const std::byte*, size_t) { return true; });
    for (const auto& [to, bytes] : std::exchange(downloads_, {})) std::copy(bytes.begin(), bytes.end(), to);
    if (device_->lost) return absl::InternalError("emulated GPU: wait: lost");
    return std::exchange(stream_.status, absl::OkStatus());
  }
  absl::Status Health() override {
    return device_->lost ? absl::UnavailableError("emulated GPU is lost") : absl::OkStatus();
  }

  const GpuOps& ops() const override { return Launches<EmulatedLauncher>::kOps; }
  void* stream() override { return &stream_; }

  void RunGraph(const GraphKey& key, const std::function<void()>& launch) override {
    const auto [found, recorded_now] = graphs_.try_emplace(key);
    if (recorded_now) {
      stream_.recording = &found->second;
      launch();
      stream_.recording = nullptr;
    }
    for (const auto& kernel : found->second) stream_.status.Update(kernel());
  }

 private:
  // Those, by where and how much was uploaded, that are done with.
  void CheckUploads(const std::function<bool(const std::byte*, size_t)>& done) {
    const auto check = [&](const auto& upload) {
      const auto& [from, bytes] = upload;
      if (!done(from, bytes.size())) return false;
      if (!std::equal(bytes.begin(), bytes.end(), from)) {
        stream_.status.Update(absl::InternalError("emulated GPU: what is uploaded changed before it was waited for"));
      }
      return true;
    };
    uploads_.erase(std::remove_if(uploads_.begin(), uploads_.end(), check), uploads_.end());
  }
  void MayNotBeRecorded(const char* what) {
    if (stream_.recording == nullptr) return;
    stream_.status.Update(absl::InternalError(absl::StrCat("emulated GPU: ", what, " while a graph is recorded")));
  }

  const std::string name_ = "emulator";
  const std::shared_ptr<Device> device_;
  Stream stream_;
  std::map<GraphKey, Graph> graphs_;
  std::vector<std::pair<const std::byte*, std::vector<std::byte>>> uploads_;  // and what was there
  std::vector<std::pair<std::byte*, std::vector<std::byte>>> downloads_;      // and what will be there
};

}  // namespace

std::unique_ptr<Gpu> MakeEmulatedGpu(emulator::Order order) {
  return std::make_unique<EmulatedGpu>(order, std::make_shared<Device>());
}

void LoseEmulatedGpu(Gpu* gpu) { static_cast<EmulatedGpu*>(gpu)->Lose(); }

}  // namespace qzo::kernels::cuda
