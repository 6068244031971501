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
#include <utility>

#include "absl/status/statusor.h"
#include "server/blob_keeper.h"
#include "server/project_quota.h"

namespace qzo::server {

class FileIntake {
 public:
  // `keeper` and `quota` must outlive the intake. `digest_suffices`: whether the sender of this digest of a blob that
  // is there need not prove to have it by sending it; nullptr = must always.
  FileIntake(BlobKeeper* keeper, ProjectQuota* quota, uint64_t max_bytes,
             std::function<bool(const std::string& digest)> digest_suffices)
      : keeper_(keeper), quota_(quota), max_bytes_(max_bytes), digest_suffices_(std::move(digest_suffices)) {}
  ~FileIntake();
  FileIntake(const FileIntake&) = delete;
  FileIntake& operator=(const FileIntake&) = delete;

  // `digest` is what the sender says, "" when it does not. True when no data need follow.
  absl::StatusOr<bool> Begin(const std::string& project, const std::string& digest);
  // RESOURCE_EXHAUSTED beyond the limit of a file or of its project, or when the disk is full.
  absl::Status Append(std::string_view data);
  // The blob's digest; from here to the end of the intake nothing removes the blob. Errors as of Append;
  // INVALID_ARGUMENT for an empty file or another digest than was said; FAILED_PRECONDITION when only a digest came
  // that does not suffice.
  absl::StatusOr<std::string> Finish(const std::function<bool()>& aborted);

 private:
  bool Held(const std::string& digest) const;

  BlobKeeper* const keeper_;
  ProjectQuota* const quota_;
  const uint64_t max_bytes_;
  const std::function<bool(const std::string& digest)> digest_suffices_;
  std::string expected_digest_;
  std::unique_ptr<ProjectQuota::Room> room_;
  std::unique_ptr<BlobWriter> writer_;
  std::optional<BlobKeeper::Hold> hold_;
  std::string digest_;  // once finished
};

}  // namespace qzo::server

#endif  // QZO_SERVER_FILE_INTAKE_H_
