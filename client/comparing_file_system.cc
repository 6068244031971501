#include "client/comparing_file_system.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace qzo::client {
namespace {

class ComparedFile final : public base::PendingFile {
 public:
  explicit ComparedFile(std::unique_ptr<base::MappedFile> there) : there_(std::move(there)) {}

  absl::Status Append(std::string_view bytes) override {
    const std::string_view expected = there_->bytes().substr(std::min(at_, there_->bytes().size()), bytes.size());
    if (expected.size() < bytes.size()) return Differs(there_->bytes().size(), "the file ends");
    const auto [ours, theirs] = std::mismatch(bytes.begin(), bytes.end(), expected.begin());
    if (ours != bytes.end()) return Differs(at_ + static_cast<size_t>(ours - bytes.begin()), "the byte is another");
    at_ += bytes.size();
    return absl::OkStatus();
  }
  absl::Status Commit() override {
    return at_ == there_->bytes().size() ? absl::OkStatus() : Differs(at_, "the file goes on");
  }
  absl::Status CommitAs(const std::string& /*destination*/) override { return Commit(); }

 private:
  absl::Status Differs(size_t at, const char* why) const {
    return absl::DataLossError(absl::StrCat(there_->path(), ": at byte ", at, " ", why));
  }

  const std::unique_ptr<base::MappedFile> there_;
  size_t at_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<base::PendingFile>> ComparingFileSystem::CreatePending(const std::string& destination) {
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<base::MappedFile> there, base::MappedFile::Open(destination));
  return std::make_unique<ComparedFile>(std::move(there));
}

absl::Status ComparingFileSystem::Link(const std::string& /*existing*/, const std::string& path) {
  return absl::UnimplementedError(absl::StrCat(path, ": only whole files are compared"));
}
absl::Status ComparingFileSystem::Remove(const std::string& path) {
  return absl::UnimplementedError(absl::StrCat(path, ": only whole files are compared"));
}

}  // namespace qzo::client
