#include "kernels/cuda/nccl_library.h"

#include <dlfcn.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"

namespace qzo::kernels::cuda {
namespace {

constexpr int kLeastVersion = NCCL_VERSION(2, 14, 0);  // calls that do not block
constexpr absl::Duration kPoll = absl::Microseconds(50);

template <typename Function>
absl::Status Find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(::dlsym(library, name));
  if (*function != nullptr) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("NCCL: libnccl.so.2 has no ", name));
}

absl::StatusOr<const NcclLibrary*> Open() {
  void* const library = ::dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return absl::UnavailableError(absl::StrCat("no NCCL: ", ::dlerror()));
  static NcclLibrary nccl;
  QZO_RETURN_IF_ERROR(Find(library, "ncclGetVersion", &nccl.get_version));
  QZO_RETURN_IF_ERROR(Find(library, "ncclGetUniqueId", &nccl.get_unique_id));
  QZO_RETURN_IF_ERROR(Find(library, "ncclCommInitRankConfig", &nccl.comm_init_rank_config));
  QZO_RETURN_IF_ERROR(Find(library, "ncclCommGetAsyncError", &nccl.comm_get_async_error));
  QZO_RETURN_IF_ERROR(Find(library, "ncclCommAbort", &nccl.comm_abort));
  QZO_RETURN_IF_ERROR(Find(library, "ncclSend", &nccl.send));
  QZO_RETURN_IF_ERROR(Find(library, "ncclRecv", &nccl.recv));
  QZO_RETURN_IF_ERROR(Find(library, "ncclGroupStart", &nccl.group_start));
  QZO_RETURN_IF_ERROR(Find(library, "ncclGroupEnd", &nccl.group_end));
  QZO_RETURN_IF_ERROR(Find(library, "ncclGetErrorString", &nccl.get_error_string));
  QZO_RETURN_IF_ERROR(Find(library, "ncclGetLastError", &nccl.get_last_error));
  QZO_RETURN_IF_ERROR(nccl.ToStatus("its version", nccl.get_version(&nccl.version)));
  if (nccl.version < kLeastVersion) {
    return absl::UnavailableError(
        absl::StrCat("NCCL: libnccl.so.2 is of version ", nccl.version, ", expected at least ", kLeastVersion));
  }
  return &nccl;
}

}  // namespace

absl::StatusOr<const NcclLibrary*> NcclLibrary::Load() {
  static const absl::StatusOr<const NcclLibrary*> loaded = Open();
  return loaded;
}

absl::Status NcclLibrary::ToStatus(std::string_view what, ncclResult_t result) const {
  if (result == ncclSuccess || result == ncclInProgress) return absl::OkStatus();
  const bool far = result == ncclRemoteError || result == ncclSystemError;
  std::string message = absl::StrCat("NCCL: ", std::string(what), ": ", get_error_string(result));
  // Of this thread's last failure, if it has said more about it.
  if (const char* detail = get_last_error(nullptr); detail != nullptr && *detail != '\0') {
    absl::StrAppend(&message, " (", detail, ")");
  }
  return {far ? absl::StatusCode::kUnavailable : absl::StatusCode::kInternal, message};
}

absl::Status NcclLibrary::Settle(std::string_view what, ncclComm_t comm, const Interrupt& interrupt) const {
  for (;;) {
    ncclResult_t state = ncclSuccess;
    QZO_RETURN_IF_ERROR(ToStatus(what, comm_get_async_error(comm, &state)));
    QZO_RETURN_IF_ERROR(ToStatus(what, state));
    if (state == ncclSuccess) return absl::OkStatus();
    QZO_RETURN_IF_ERROR(interrupt());
    absl::SleepFor(kPoll);
  }
}

absl::StatusOr<ncclComm_t> NcclLibrary::Init(const ncclUniqueId& id, int ranks, int rank,
                                             const Interrupt& interrupt) const {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm = nullptr;
  absl::Status status = ToStatus("communicator", comm_init_rank_config(&comm, ranks, id, rank, &config));
  if (status.ok()) status = Settle("communicator", comm, interrupt);
  if (status.ok()) return comm;
  if (comm != nullptr) comm_abort(comm);
  return status;
}

}  // namespace qzo::kernels::cuda
