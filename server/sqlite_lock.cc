#include "server/sqlite_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/fs.h"
#include "base/status_macros.h"

namespace qzo::server {

absl::StatusOr<std::unique_ptr<SqliteLock>> SqliteLock::Take(const std::string& database_path) {
  const std::string path = database_path + ".lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return base::ErrnoStatus(errno, "open", path);
  std::unique_ptr<SqliteLock> lock(new SqliteLock(fd));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return base::ErrnoStatus(errno, "lock", path);
    const absl::StatusOr<std::string> holder = base::RealFileSystem()->Read(path);
    const absl::string_view pid = holder.ok() ? absl::StripSuffix(*holder, "\n") : "";
    return absl::FailedPreconditionError(absl::StrCat(database_path, ": in use by another server",
                                                      pid.empty() ? "" : absl::StrCat(" (process ", pid, ")"),
                                                      ", which holds ", path));
  }
  // Advice for people only, so a full disk must not keep the server from starting.
  const std::string pid = absl::StrCat(::getpid(), "\n");
  if (::ftruncate(fd, 0) == 0) (void)!::write(fd, pid.data(), pid.size());
  return lock;
}

SqliteLock::~SqliteLock() { ::close(fd_); }

}  // namespace qzo::server
