// The file of an upload on its way to the blob store. At its end the blob is discarded: it stays when a resource names
// it by then. One call at a time.
#ifndef QZO_SERVER_FILE_INTAKE_H_
#define QZO_SERVER_FILE_INTAKE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/blob_keeper.h"

namespace qzo::server {

class FileIntake {
 public:
  // `keeper` must outlive the intake. `digest_suffices`: the sender of the digest of a blob that is there need not have
  // it.
  FileIntake(BlobKeeper* keeper, uint64_t max_bytes, bool digest_suffices)
      : keeper_(keeper), max_bytes_(max_bytes), digest_suffices_(digest_suffices) {}
  ~FileIntake();
  FileIntake(const FileIntake&) = delete;
  FileIntake& operator=(const FileIntake&) = delete;

  // `digest` is what the sender says, "" when it does not. True when no data need follow.
  absl::StatusOr<bool> Begin(const std::string& digest);
  // RESOURCE_EXHAUSTED beyond the limit or when the disk is full.
  absl::Status Append(std::string_view data);
  // The blob's digest; from here to the end of the intake nothing removes the blob. INVALID_ARGUMENT for an empty file
  // or another digest than was said; FAILED_PRECONDITION when only a digest came, and the server does not hold it.
  absl::StatusOr<std::string> Finish(const std::function<bool()>& aborted);

 private:
  BlobKeeper* const keeper_;
  const uint64_t max_bytes_;
  const bool digest_suffices_;
  std::string expected_digest_;
  std::unique_ptr<BlobWriter> writer_;
  std::optional<BlobKeeper::Hold> hold_;
  std::string digest_;  // once finished
};

}  // namespace qzo::server

#endif  // QZO_SERVER_FILE_INTAKE_H_
