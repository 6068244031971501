// Communicators by NCCL's sends and receives, two ranks each. No call of NCCL blocks: whoever waits asks the
// communicator for errors and its caller for a reason to stop, and an abort ends what is under way.
#include <cuda_runtime_api.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "kernels/cuda/communicator.h"
#include "kernels/cuda/nccl_library.h"

namespace qzo::kernels::cuda {
namespace {

constexpr absl::Duration kPoll = absl::Microseconds(20);  // a pass takes milliseconds

absl::Status CudaStatus(const char* what, cudaError_t error) {
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(what, ": ", cudaGetErrorName(error), ", ", cudaGetErrorString(error)));
}

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(const NcclLibrary& nccl, ncclComm_t comm, int rank) : nccl_(nccl), comm_(comm), peer_(1 - rank) {}
  ~NcclCommunicator() override {
    nccl_.comm_abort(comm_);  // also what is under way on the stream, which would else wait for the other end
    if (stream_ != nullptr) {
      cudaStreamSynchronize(stream_);
      cudaStreamDestroy(stream_);
    }
    cudaFree(copy_);
  }
  absl::Status Open() {
    return CudaStatus("a stream for NCCL", cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  }

  absl::Status Send(const std::byte* from, size_t bytes, const Interrupt& interrupt) override {
    QZO_RETURN_IF_ERROR(Finish("send", interrupt));
    QZO_RETURN_IF_ERROR(Reserve(bytes));
    QZO_RETURN_IF_ERROR(
        CudaStatus("copy of what is sent", cudaMemcpyAsync(copy_, from, bytes, cudaMemcpyDeviceToDevice, stream_)));
    QZO_RETURN_IF_ERROR(CudaStatus("copy of what is sent", cudaStreamSynchronize(stream_)));
    QZO_RETURN_IF_ERROR(nccl_.ToStatus("send", nccl_.send(copy_, bytes, ncclUint8, peer_, comm_, stream_)));
    return nccl_.Settle("send", comm_, interrupt);
  }
  absl::Status Settle(const Interrupt& interrupt) override { return Finish("send", interrupt); }
  absl::Status Receive(std::byte* to, size_t bytes, const Interrupt& interrupt) override {
    QZO_RETURN_IF_ERROR(nccl_.ToStatus("receive", nccl_.recv(to, bytes, ncclUint8, peer_, comm_, stream_)));
    return Finish("receive", interrupt);
  }

 private:
  // Until the stream is idle.
  absl::Status Finish(const char* what, const Interrupt& interrupt) {
    for (;;) {
      QZO_RETURN_IF_ERROR(nccl_.Settle(what, comm_, interrupt));
      const cudaError_t state = cudaStreamQuery(stream_);
      if (state != cudaErrorNotReady) return CudaStatus(what, state);
      cudaGetLastError();  // it remembers this, too, as an error
      QZO_RETURN_IF_ERROR(interrupt());
      absl::SleepFor(kPoll);
    }
  }
  absl::Status Reserve(size_t bytes) {
    if (bytes <= reserved_) return absl::OkStatus();
    cudaFree(std::exchange(copy_, nullptr));
    reserved_ = 0;
    if (const cudaError_t error = cudaMalloc(&copy_, bytes); error != cudaSuccess) {
      cudaGetLastError();  // said; not to be said again by the next call
      return absl::ResourceExhaustedError(
          absl::StrCat(bytes, " bytes of device memory to send from: ", cudaGetErrorString(error)));
    }
    reserved_ = bytes;
    return absl::OkStatus();
  }

  const NcclLibrary& nccl_;
  const ncclComm_t comm_;
  const int peer_;
  cudaStream_t stream_ = nullptr;
  void* copy_ = nullptr;
  size_t reserved_ = 0;
};

class NcclCommunicators final : public Communicators {
 public:
  explicit NcclCommunicators(const NcclLibrary& nccl) : nccl_(nccl) {}

  int version() const override { return nccl_.version; }

  absl::StatusOr<std::string> NewId() override {
    ncclUniqueId id;
    QZO_RETURN_IF_ERROR(nccl_.ToStatus("unique id", nccl_.get_unique_id(&id)));
    return std::string(id.internal, sizeof(id.internal));
  }

  absl::StatusOr<std::unique_ptr<Communicator>> Join(const std::string& id, int rank,
                                                     const Interrupt& interrupt) override {
    ncclUniqueId unique_id;
    if (id.size() != sizeof(unique_id.internal)) {
      return absl::InvalidArgumentError(
          absl::StrCat("NCCL: a unique id of ", id.size(), " bytes, expected ", sizeof(unique_id.internal)));
    }
    std::memcpy(unique_id.internal, id.data(), id.size());
    QZO_ASSIGN_OR_RETURN(const ncclComm_t comm, nccl_.Init(unique_id, 2, rank, interrupt));
    auto communicator = std::make_unique<NcclCommunicator>(nccl_, comm, rank);
    QZO_RETURN_IF_ERROR(communicator->Open());
    return communicator;
  }

 private:
  const NcclLibrary& nccl_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Communicators>> OpenNccl() {
  QZO_ASSIGN_OR_RETURN(const NcclLibrary* const nccl, NcclLibrary::Load());
  return std::make_unique<NcclCommunicators>(*nccl);
}

}  // namespace qzo::kernels::cuda
