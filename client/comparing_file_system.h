// A file system on which whatever is written is compared with what is there already, and nothing changes: DATA_LOSS
// names the first byte that differs. Thread-compatible.
#ifndef QZO_CLIENT_COMPARING_FILE_SYSTEM_H_
#define QZO_CLIENT_COMPARING_FILE_SYSTEM_H_

#include <memory>
#include <string>
#include <vector>

#include "base/fs.h"

namespace qzo::client {

class ComparingFileSystem final : public base::FileSystem {
 public:
  // `real` must outlive the object.
  explicit ComparingFileSystem(base::FileSystem* real) : real_(real) {}

  absl::StatusOr<std::string> Read(const std::string& path) override { return real_->Read(path); }
  absl::StatusOr<std::unique_ptr<base::PendingFile>> CreatePending(const std::string& destination) override;
  absl::StatusOr<uint64_t> Size(const std::string& path) override { return real_->Size(path); }
  bool Exists(const std::string& path) override { return real_->Exists(path); }
  absl::Status Link(const std::string& existing, const std::string& path) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status CreateDirectories(const std::string& /*path*/) override { return absl::OkStatus(); }
  // A directory to write into is empty.
  absl::StatusOr<std::vector<std::string>> List(const std::string& /*directory*/) override {
    return std::vector<std::string>();
  }

 private:
  base::FileSystem* const real_;
};

}  // namespace qzo::client

#endif  // QZO_CLIENT_COMPARING_FILE_SYSTEM_H_
