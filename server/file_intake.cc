#include "server/file_intake.h"

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "proto/grpc_status.h"
#include "server/errors.h"

namespace qzo::server {

FileIntake::~FileIntake() {
  writer_.reset();
  // Whatever names the blob by now keeps it.
  if (!digest_.empty()) keeper_->Discard(digest_);
}

bool FileIntake::Held(const std::string& digest) const {
  return keeper_->blobs()->Exists(digest) && digest_suffices_(digest);
}

absl::StatusOr<bool> FileIntake::Begin(const std::string& project, const std::string& digest) {
  if (!digest.empty() && !base::IsSha256Hex(digest)) {
    return InvalidField("digest", "expected a SHA-256 as 64 lower-case hexadecimal digits");
  }
  expected_digest_ = digest;
  QZO_ASSIGN_OR_RETURN(room_, quota_->Open(project));
  if (digest.empty() || !digest_suffices_) return false;
  hold_.emplace(keeper_);
  if (Held(digest)) return true;
  hold_.reset();
  return false;
}

absl::Status FileIntake::Append(std::string_view data) {
  if (writer_ == nullptr) {
    QZO_ASSIGN_OR_RETURN(writer_, keeper_->blobs()->NewWriter(max_bytes_));
  }
  if (writer_->size_bytes() + data.size() > max_bytes_) {
    return rpc::WithReason(
        absl::ResourceExhaustedError(absl::StrCat("the file is larger than ", base::HumanBytes(max_bytes_))),
        "FILE_TOO_LARGE");
  }
  QZO_RETURN_IF_ERROR(room_->Take(data.size()));
  return writer_->Append(data);
}

absl::StatusOr<std::string> FileIntake::Finish(const std::function<bool()>& aborted) {
  if (!hold_) hold_.emplace(keeper_);
  if (writer_ == nullptr) {
    if (expected_digest_.empty() || !digest_suffices_)
      return InvalidField("data", "no bytes came: the file is empty, or was not sent");
    if (!Held(expected_digest_)) {
      return rpc::WithReason(absl::FailedPreconditionError(absl::StrCat("the server does not hold a file with digest ",
                                                                        expected_digest_, ": send it")),
                             "DATA_NEEDED");
    }
    digest_ = expected_digest_;
    QZO_ASSIGN_OR_RETURN(const uint64_t bytes, keeper_->blobs()->Size(digest_));
    QZO_RETURN_IF_ERROR(room_->Take(bytes));
  } else {
    if (aborted()) return absl::CancelledError("the upload was broken off");
    QZO_ASSIGN_OR_RETURN(digest_, writer_->Finish(expected_digest_));
  }
  QZO_RETURN_IF_ERROR(room_->Confirm());
  return digest_;
}

}  // namespace qzo::server
