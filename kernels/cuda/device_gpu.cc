// A Gpu that is a CUDA device, by the statically linked runtime: without a driver it opens nothing and says so.
#include <cuda_runtime_api.h>

#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/device_ops.h"

namespace qzo::kernels::cuda {
namespace {

constexpr int kLeastMajor = 8;  // cp.async and bfloat16 products
// Graphs take device memory that no plan counts, some for memory that has gone: at so many, all are made anew.
constexpr size_t kMostGraphs = 32;

class DeviceGpu final : public Gpu {
 public:
  DeviceGpu(std::string name, std::string architecture, cudaStream_t stream)
      : name_(std::move(name)), architecture_(std::move(architecture)), stream_(stream) {}
  ~DeviceGpu() override {
    cudaStreamSynchronize(stream_);
    DropGraphs();
    cudaStreamDestroy(stream_);
  }

  static absl::StatusOr<std::unique_ptr<Gpu>> Open(const std::string& name, const std::string& architecture) {
    cudaStream_t stream = nullptr;
    if (const cudaError_t error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking); error != cudaSuccess) {
      return absl::UnavailableError(absl::StrCat(name, ": ", cudaGetErrorString(error)));
    }
    return std::make_unique<DeviceGpu>(name, architecture, stream);
  }
  absl::StatusOr<std::unique_ptr<Gpu>> Share() override { return Open(name_, architecture_); }

  const std::string& name() const override { return name_; }
  const std::string& architecture() const override { return architecture_; }
  int64_t free_bytes() const override {
    size_t free = 0, total = 0;
    return cudaMemGetInfo(&free, &total) == cudaSuccess ? static_cast<int64_t>(free) : 0;
  }

  absl::StatusOr<std::byte*> Allocate(size_t bytes) override {
    void* memory = nullptr;
    return Allocated(cudaMalloc(&memory, bytes), memory, bytes, "device memory");
  }
  void Free(std::byte* memory) override { cudaFree(memory); }
  absl::StatusOr<std::byte*> AllocateHost(size_t bytes) override {
    void* memory = nullptr;
    return Allocated(cudaMallocHost(&memory, bytes), memory, bytes, "page-locked memory");
  }
  void FreeHost(std::byte* memory) override { cudaFreeHost(memory); }

  void Upload(std::byte* to, const std::byte* from, size_t bytes) override {
    Note("upload", cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_));
  }
  void Download(std::byte* to, const std::byte* from, size_t bytes) override {
    Note("download", cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_));
  }
  absl::Status Wait() override {
    Note("launch", cudaGetLastError());
    Note("wait", cudaStreamSynchronize(stream_));
    return std::exchange(status_, absl::OkStatus());
  }
  absl::Status Health() override {
    const cudaError_t error = cudaStreamQuery(stream_);
    if (error == cudaSuccess) return absl::OkStatus();
    if (error == cudaErrorNotReady) {
      cudaGetLastError();  // it remembers this, too, as an error
      return absl::OkStatus();
    }
    return absl::UnavailableError(
        absl::StrCat(name_, " is lost: ", cudaGetErrorName(error), ", ", cudaGetErrorString(error)));
  }

  const GpuOps& ops() const override { return DeviceOps(); }
  void* stream() override { return stream_; }

  void RunGraph(const GraphKey& key, const std::function<void()>& launch) override {
    auto found = graphs_.find(key);
    if (found == graphs_.end()) {
      if (graphs_.size() == kMostGraphs) DropGraphs();
      cudaGraphExec_t graph = Record(launch);
      if (!status_.ok()) return;
      if (graph == nullptr) return launch();
      found = graphs_.emplace(key, graph).first;
    }
    Note("graph", cudaGraphLaunch(found->second, stream_));
  }

 private:
  // nullptr where there is no memory for a graph, too: what it would start can be launched without.
  cudaGraphExec_t Record(const std::function<void()>& launch) {
    cudaGraph_t recorded = nullptr;
    cudaGraphExec_t graph = nullptr;
    Note("record", cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    launch();
    Note("record", cudaStreamEndCapture(stream_, &recorded));
    if (status_.ok()) {
      const cudaError_t error = cudaGraphInstantiate(&graph, recorded, 0);
      if (error == cudaErrorMemoryAllocation) {
        graph = nullptr;
        cudaGetLastError();  // not to be said by Wait
      } else {
        Note("instantiate", error);
      }
    }
    if (recorded != nullptr) cudaGraphDestroy(recorded);
    return graph;
  }
  void DropGraphs() {
    for (const auto& [key, graph] : graphs_) cudaGraphExecDestroy(graph);
    graphs_.clear();
  }
  void Note(std::string_view what, cudaError_t error) {
    if (error == cudaSuccess) return;
    status_.Update(absl::InternalError(
        absl::StrCat(name_, ": ", std::string(what), ": ", cudaGetErrorName(error), ", ", cudaGetErrorString(error))));
  }
  absl::StatusOr<std::byte*> Allocated(cudaError_t error, void* memory, size_t bytes, const char* what) {
    if (error == cudaSuccess) return static_cast<std::byte*>(memory);
    cudaGetLastError();  // said; not to be said again by Wait
    return absl::ResourceExhaustedError(absl::StrCat(name_, ": ", bytes, " bytes of ", what, ", of which ",
                                                     free_bytes(),
                                                     " are free on the device: ", cudaGetErrorString(error)));
  }

  const std::string name_;
  const std::string architecture_;
  const cudaStream_t stream_;
  absl::Status status_;
  std::map<GraphKey, cudaGraphExec_t> graphs_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Gpu>> OpenGpu() {
  int devices = 0;  // left as it is on failure
  if (const cudaError_t error = cudaGetDeviceCount(&devices); error != cudaSuccess || devices == 0) {
    return absl::UnavailableError(
        absl::StrCat("no CUDA device: ", error == cudaSuccess ? "none is listed" : cudaGetErrorString(error)));
  }
  cudaDeviceProp device;
  if (const cudaError_t error = cudaGetDeviceProperties(&device, 0); error != cudaSuccess) {
    return absl::UnavailableError(absl::StrCat("CUDA device 0: ", cudaGetErrorString(error)));
  }
  if (device.major < kLeastMajor) {
    return absl::UnavailableError(absl::StrCat(device.name, " has compute capability ", device.major, ".", device.minor,
                                               ", expected ", kLeastMajor, ".0 or later"));
  }
  if (const cudaError_t error = LoadKernels(); error != cudaSuccess) {
    return absl::UnavailableError(absl::StrCat(device.name, ", compute capability ", device.major, ".", device.minor,
                                               ", cannot load this program's kernels: ", cudaGetErrorString(error)));
  }
  return DeviceGpu::Open(device.name, absl::StrCat("sm_", device.major, device.minor));
}

}  // namespace qzo::kernels::cuda
