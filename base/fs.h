// The file seam: whole files, durable replacement, read-only mappings. Thread-safe.
// Errors carry the path and the system's text; ENOSPC and EDQUOT become RESOURCE_EXHAUSTED, ENOENT NOT_FOUND, EACCES
// PERMISSION_DENIED, anything else INTERNAL.
#ifndef QZO_BASE_FS_H_
#define QZO_BASE_FS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace qzo::base {

// A read-only, shared memory mapping; unmapped by the destructor. An empty file gives empty bytes.
class MappedFile {
 public:
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::string_view bytes() const { return bytes_; }
  const std::string& path() const { return path_; }

 private:
  MappedFile(std::string path, std::string_view bytes) : path_(std::move(path)), bytes_(bytes) {}
  const std::string path_;
  const std::string_view bytes_;
};

// A file that is being written next to its destination: nothing is visible there until Commit, which is durable
// (file and directory are synced). Destroying it without Commit removes what was written.
class PendingFile {
 public:
  virtual ~PendingFile() = default;
  virtual absl::Status Append(std::string_view bytes) = 0;
  virtual absl::Status Commit() = 0;
  // Commit under another name on the same file system, for content whose name is known only at its end.
  virtual absl::Status CommitAs(const std::string& destination) = 0;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual absl::StatusOr<std::string> Read(const std::string& path) = 0;
  virtual absl::StatusOr<std::unique_ptr<PendingFile>> CreatePending(const std::string& destination) = 0;
  virtual absl::StatusOr<uint64_t> Size(const std::string& path) = 0;
  virtual bool Exists(const std::string& path) = 0;
  // A second name for a file (for its target, if it is a symbolic link), durable with its content. ALREADY_EXISTS;
  // INTERNAL across file systems.
  virtual absl::Status Link(const std::string& existing, const std::string& path) = 0;
  // Succeeds when there is no such file.
  virtual absl::Status Remove(const std::string& path) = 0;
  virtual absl::Status CreateDirectories(const std::string& path) = 0;
  // Names (not paths) of the entries, sorted.
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& directory) = 0;

  // CreatePending + Append + Commit.
  absl::Status WriteDurably(const std::string& path, std::string_view bytes);
};

// The machine's file system. Lives for ever.
FileSystem* RealFileSystem();

// "NFS", "CIFS", … when `path` lies on a network file system, "" when not.
absl::StatusOr<std::string> NetworkFileSystemName(const std::string& path);

// errno of a failed call on `path` as a Status, as described above.
absl::Status ErrnoStatus(int error, std::string_view what, std::string_view path);

}  // namespace qzo::base

#endif  // QZO_BASE_FS_H_
