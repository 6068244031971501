// Exclusive ownership of a database by one process: an flock on a file beside it, which holds the owner's process id.
// SQLite's own locks would let two servers take turns; two coordinators over one store must not run at all.
#ifndef QZO_SERVER_SQLITE_LOCK_H_
#define QZO_SERVER_SQLITE_LOCK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace qzo::server {

class SqliteLock {
 public:
  // Takes the lock at once or fails: FAILED_PRECONDITION names the path and the process that has it. The system
  // releases it when this object or its process ends; the file stays.
  static absl::StatusOr<std::unique_ptr<SqliteLock>> Take(const std::string& database_path);
  ~SqliteLock();
  SqliteLock(const SqliteLock&) = delete;
  SqliteLock& operator=(const SqliteLock&) = delete;

 private:
  explicit SqliteLock(int fd) : fd_(fd) {}
  const int fd_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_SQLITE_LOCK_H_
