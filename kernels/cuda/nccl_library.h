// NCCL's functions, from the shared library that the machine has: the program starts without it.
#ifndef QZO_KERNELS_CUDA_NCCL_LIBRARY_H_
#define QZO_KERNELS_CUDA_NCCL_LIBRARY_H_

#include <nccl.h>

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/communicator.h"

namespace qzo::kernels::cuda {

// Constant once loaded; the library stays for the rest of the process.
struct NcclLibrary {
  decltype(&ncclGetVersion) get_version;
  decltype(&ncclGetUniqueId) get_unique_id;
  decltype(&ncclCommInitRankConfig) comm_init_rank_config;
  decltype(&ncclCommGetAsyncError) comm_get_async_error;
  decltype(&ncclCommAbort) comm_abort;
  decltype(&ncclSend) send;
  decltype(&ncclRecv) recv;
  decltype(&ncclGroupStart) group_start;
  decltype(&ncclGroupEnd) group_end;
  decltype(&ncclGetErrorString) get_error_string;
  decltype(&ncclGetLastError) get_last_error;
  int version;

  // UNAVAILABLE as OpenNccl.
  static absl::StatusOr<const NcclLibrary*> Load();

  // UNAVAILABLE for what is the other end's or the network's, else INTERNAL; OK for ncclSuccess and ncclInProgress.
  absl::Status ToStatus(std::string_view what, ncclResult_t result) const;
  // A communicator of `ranks` on the current device, whose calls do not block. Waits for all ranks.
  absl::StatusOr<ncclComm_t> Init(const ncclUniqueId& id, int ranks, int rank, const Interrupt& interrupt) const;
  // Until the calls so far have put their work on their streams.
  absl::Status Settle(std::string_view what, ncclComm_t comm, const Interrupt& interrupt) const;
};

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_NCCL_LIBRARY_H_
