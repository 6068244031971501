// For tests: an SQLite VFS over the system's own whose writes and syncs fail on demand. Thread-safe. Stores that use it
// must be gone before it is.
#ifndef QZO_SERVER_SQLITE_FAULT_VFS_H_
#define QZO_SERVER_SQLITE_FAULT_VFS_H_

#include <sqlite3.h>

#include <atomic>
#include <cstdint>
#include <new>
#include <string>

namespace qzo::server {

class FaultVfs {
 public:
  explicit FaultVfs(std::string name) : name_(std::move(name)), real_(sqlite3_vfs_find(nullptr)), vfs_(*real_) {
    vfs_.zName = name_.c_str();
    vfs_.szOsFile = static_cast<int>(sizeof(File)) + real_->szOsFile;
    vfs_.pAppData = this;
    vfs_.xOpen = &OpenFile;
    sqlite3_vfs_register(&vfs_, 0);
  }
  ~FaultVfs() { sqlite3_vfs_unregister(&vfs_); }
  FaultVfs(const FaultVfs&) = delete;
  FaultVfs& operator=(const FaultVfs&) = delete;

  const std::string& name() const { return name_; }

  std::atomic<bool> disk_full = false;          // every write fails
  std::atomic<bool> cannot_open = false;        // every open fails
  std::atomic<int> failing_log_syncs = 0;       // so many syncs of the log fail, after the data was written
  std::atomic<int> failing_log_writes = 0;      // so many writes to the log fail
  std::atomic<int64_t> unsynced_log_bytes = 0;  // written to the log since its last sync

 private:
  struct File {
    sqlite3_file base;  // what SQLite sees; the real file lies behind this object
    FaultVfs* owner;
    bool is_log;
  };
  static File* Of(sqlite3_file* file) { return reinterpret_cast<File*>(file); }
  static sqlite3_file* Real(sqlite3_file* file) { return reinterpret_cast<sqlite3_file*>(Of(file) + 1); }
  static bool Take(std::atomic<int>* faults) {
    for (int left = faults->load(); left > 0;) {
      if (faults->compare_exchange_weak(left, left - 1)) return true;
    }
    return false;
  }

  // A method that calls the real file's.
  template <auto Method, typename Type = decltype(Method)>
  struct Forward;
  template <auto Method, typename Result, typename... Arguments>
  struct Forward<Method, Result (*sqlite3_io_methods::*)(sqlite3_file*, Arguments...)> {
    static Result Call(sqlite3_file* file, Arguments... arguments) {
      return (Real(file)->pMethods->*Method)(Real(file), arguments...);
    }
  };

  static int Write(sqlite3_file* file, const void* data, int bytes, sqlite3_int64 offset) {
    FaultVfs* owner = Of(file)->owner;
    if (owner->disk_full) return SQLITE_FULL;
    if (Of(file)->is_log) {
      if (Take(&owner->failing_log_writes)) return SQLITE_IOERR_WRITE;
      owner->unsynced_log_bytes += bytes;
    }
    return Real(file)->pMethods->xWrite(Real(file), data, bytes, offset);
  }

  static int Sync(sqlite3_file* file, int flags) {
    FaultVfs* owner = Of(file)->owner;
    if (Of(file)->is_log) {
      if (Take(&owner->failing_log_syncs)) return SQLITE_IOERR_FSYNC;
      owner->unsynced_log_bytes = 0;
    }
    return Real(file)->pMethods->xSync(Real(file), flags);
  }

  static int OpenFile(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
    static constexpr sqlite3_io_methods kMethods = {
        3,
        &Forward<&sqlite3_io_methods::xClose>::Call,
        &Forward<&sqlite3_io_methods::xRead>::Call,
        &Write,
        &Forward<&sqlite3_io_methods::xTruncate>::Call,
        &Sync,
        &Forward<&sqlite3_io_methods::xFileSize>::Call,
        &Forward<&sqlite3_io_methods::xLock>::Call,
        &Forward<&sqlite3_io_methods::xUnlock>::Call,
        &Forward<&sqlite3_io_methods::xCheckReservedLock>::Call,
        &Forward<&sqlite3_io_methods::xFileControl>::Call,
        &Forward<&sqlite3_io_methods::xSectorSize>::Call,
        &Forward<&sqlite3_io_methods::xDeviceCharacteristics>::Call,
        &Forward<&sqlite3_io_methods::xShmMap>::Call,
        &Forward<&sqlite3_io_methods::xShmLock>::Call,
        &Forward<&sqlite3_io_methods::xShmBarrier>::Call,
        &Forward<&sqlite3_io_methods::xShmUnmap>::Call,
        &Forward<&sqlite3_io_methods::xFetch>::Call,
        &Forward<&sqlite3_io_methods::xUnfetch>::Call,
    };
    FaultVfs* owner = static_cast<FaultVfs*>(vfs->pAppData);
    new (file) File{{nullptr}, owner, (flags & SQLITE_OPEN_WAL) != 0};
    if (owner->cannot_open) return SQLITE_CANTOPEN;
    const int code = owner->real_->xOpen(owner->real_, name, Real(file), flags, out_flags);
    if (code == SQLITE_OK) file->pMethods = &kMethods;
    return code;
  }

  const std::string name_;
  sqlite3_vfs* const real_;
  sqlite3_vfs vfs_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_SQLITE_FAULT_VFS_H_
