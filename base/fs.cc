#include "base/fs.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"

namespace qzo::base {
namespace {

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

absl::Status SyncDirectoryOf(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  const std::string directory = parent.empty() ? "." : parent;
  Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0 || ::fsync(fd.get()) != 0) return ErrnoStatus(errno, "sync", directory);
  return absl::OkStatus();
}

class RealPendingFile final : public PendingFile {
 public:
  RealPendingFile(std::string destination, std::string temporary, int fd)
      : destination_(std::move(destination)), temporary_(std::move(temporary)), fd_(fd) {}
  ~RealPendingFile() override {
    if (!committed_) ::unlink(temporary_.c_str());
  }

  absl::Status Append(std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_.get(), bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoStatus(errno, "write", temporary_);
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return absl::OkStatus();
  }

  absl::Status Commit() override { return CommitAs(destination_); }

  absl::Status CommitAs(const std::string& destination) override {
    if (::fsync(fd_.get()) != 0) return ErrnoStatus(errno, "sync", temporary_);
    if (::rename(temporary_.c_str(), destination.c_str()) != 0) return ErrnoStatus(errno, "rename to", destination);
    committed_ = true;
    return SyncDirectoryOf(destination);
  }

 private:
  const std::string destination_;
  const std::string temporary_;
  const Fd fd_;
  bool committed_ = false;
};

class PosixFileSystem final : public FileSystem {
 public:
  absl::StatusOr<std::string> Read(const std::string& path) override {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) return ErrnoStatus(errno, "open", path);
    std::string out;
    char buffer[1 << 16];
    for (;;) {
      const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoStatus(errno, "read", path);
      if (n == 0) return out;
      out.append(buffer, static_cast<size_t>(n));
    }
  }

  absl::StatusOr<std::unique_ptr<PendingFile>> CreatePending(const std::string& destination) override {
    static std::atomic<uint64_t> counter{0};
    std::string temporary = absl::StrCat(destination, ".pending.", ::getpid(), ".", counter.fetch_add(1));
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) return ErrnoStatus(errno, "create", temporary);
    return std::make_unique<RealPendingFile>(destination, std::move(temporary), fd);
  }

  absl::StatusOr<uint64_t> Size(const std::string& path) override {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, "stat", path);
    return static_cast<uint64_t>(info.st_size);
  }

  bool Exists(const std::string& path) override { return ::access(path.c_str(), F_OK) == 0; }

  absl::Status Link(const std::string& existing, const std::string& path) override {
    Fd fd(::open(existing.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) return ErrnoStatus(errno, "open", existing);
    if (::fsync(fd.get()) != 0) return ErrnoStatus(errno, "sync", existing);
    if (::linkat(AT_FDCWD, existing.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0)
      return SyncDirectoryOf(path);
    if (errno == EEXIST) return absl::AlreadyExistsError(absl::StrCat("link ", path, ": the file exists"));
    return ErrnoStatus(errno, absl::StrCat("link ", existing, " as"), path);
  }

  absl::Status Remove(const std::string& path) override {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoStatus(errno, "remove", path);
    return absl::OkStatus();
  }

  absl::Status CreateDirectories(const std::string& path) override {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    return error ? ErrnoStatus(error.value(), "create directory", path) : absl::OkStatus();
  }

  absl::StatusOr<std::vector<std::string>> List(const std::string& directory) override {
    std::error_code error;
    std::vector<std::string> names;
    for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
      names.push_back(it->path().filename().string());
    }
    if (error) return ErrnoStatus(error.value(), "list", directory);
    std::sort(names.begin(), names.end());
    return names;
  }
};

}  // namespace

absl::Status ErrnoStatus(int error, std::string_view what, std::string_view path) {
  const std::string text = absl::StrCat(ToAbsl(what), " ", ToAbsl(path), ": ", std::strerror(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(text);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(text);
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(text);
    default:
      return absl::InternalError(text);
  }
}

absl::StatusOr<std::unique_ptr<MappedFile>> MappedFile::Open(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoStatus(errno, "open", path);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return ErrnoStatus(errno, "stat", path);
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  std::string_view bytes;
  if (info.st_size > 0) {
    const size_t size = static_cast<size_t>(info.st_size);
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
    if (data == MAP_FAILED) return ErrnoStatus(errno, "map", path);
    bytes = {static_cast<const char*>(data), size};
  }
  return std::unique_ptr<MappedFile>(new MappedFile(path, bytes));
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<char*>(bytes_.data()), bytes_.size());
}

absl::Status FileSystem::WriteDurably(const std::string& path, std::string_view bytes) {
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<PendingFile> file, CreatePending(path));
  QZO_RETURN_IF_ERROR(file->Append(bytes));
  return file->Commit();
}

FileSystem* RealFileSystem() {
  static PosixFileSystem fs;
  return &fs;
}

absl::StatusOr<std::string> NetworkFileSystemName(const std::string& path) {
  struct statfs info {};
  if (::statfs(path.c_str(), &info) != 0) return ErrnoStatus(errno, "statfs", path);
  switch (static_cast<uint32_t>(info.f_type)) {  // magic numbers: statfs(2)
    case 0x6969:
      return "NFS";
    case 0xFF534D42:
    case 0xFE534D42:
    case 0x517B:
      return "CIFS";
    case 0x01021997:
      return "9P";
    case 0x00C36400:
      return "Ceph";
    case 0x0BD00BD0:
      return "Lustre";
    case 0x5346414F:
      return "AFS";
    default:
      return "";
  }
}

}  // namespace qzo::base
