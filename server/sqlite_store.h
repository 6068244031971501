// The embedded store: one SQLite file in WAL mode with synchronous=FULL, owned by one process.
//
// Threads: one writer thread, which sleeps until something is queued, then takes everything queued into one
// transaction; what arrives meanwhile is the next transaction. Queries run on the caller's thread over a few
// connections of their own and see everything whose `done` was called. The destructor commits and answers what is
// queued.
#ifndef QZO_SERVER_SQLITE_STORE_H_
#define QZO_SERVER_SQLITE_STORE_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mutex.h"
#include "server/sqlite_connection.h"
#include "server/sqlite_lock.h"
#include "server/store.h"

namespace qzo::server {

class SqliteStore final : public Store {
 public:
  struct Options {
    std::string path;
    const base::Clock* clock = base::SystemClock();
    base::FileSystem* fs = base::RealFileSystem();
    size_t max_queued_batches = 65'536;
    std::string vfs = {};  // a registered SQLite VFS; "" = the system's files
    std::function<absl::StatusOr<std::string>(const std::string&)> network_file_system = base::NetworkFileSystemName;
  };

  // Makes the directory and the database if need be, brings an older schema up to date, forgets request ids older than
  // 7 days. FAILED_PRECONDITION: in use by another server, on a network file system, written by a newer server, not our
  // database. DATA_LOSS: the file is damaged. Otherwise as base/fs.h and sqlite_connection.h.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(Options options);
  ~SqliteStore() override;

  // Beyond max_queued_batches: UNAVAILABLE, from the writer thread like every other answer.
  // After an I/O error in COMMIT the file is read again and the true outcome given: OK, or that error when nothing was
  // written. UNKNOWN only when the file cannot be read either. Whatever happened, the next batch tries anew.
  void Submit(WriteBatch batch, WriteDone done) override;

  absl::StatusOr<StoredResource> Get(const ResourceKey& key) override;
  absl::StatusOr<StoredResource> GetByUid(std::string_view uid) override;
  absl::StatusOr<std::vector<StoredResource>> List(const ListQuery& query) override;
  absl::StatusOr<std::optional<std::string>> ResourceOfRequest(std::string_view kind, std::string_view project,
                                                               std::string_view request_id) override;
  // Queries about an unknown uid find nothing, without an error.
  absl::StatusOr<method::JournalChunk> ReadJournal(std::string_view uid, uint32_t from, uint32_t to) override;
  absl::StatusOr<std::vector<StoredEvent>> ReadEvents(std::string_view uid, uint64_t from, int limit) override;
  absl::StatusOr<uint64_t> LastEventSequence(std::string_view uid) override;
  absl::StatusOr<std::vector<StoredEvaluation>> ReadEvaluations(std::string_view uid) override;
  absl::StatusOr<std::vector<StoredAudit>> ListAudit(const AuditQuery& query) override;

  // batches and steps count what was committed; errors count batches lost to the disk, not those refused by a check.
  StoreStats Stats() const override;

 private:
  struct Queued {
    WriteBatch batch;
    WriteDone done;
    absl::Status outcome;
    bool refused = false;  // there was no room; `outcome` says so
  };

  SqliteStore(Options options, std::unique_ptr<SqliteLock> lock, std::unique_ptr<SqliteConnection> writer, int64_t mark)
      : options_(std::move(options)), lock_(std::move(lock)), writer_(std::move(writer)), mark_(mark) {}

  void RunWriter();
  // Sets every outcome; an error is that of the transaction as a whole, hence everyone's.
  absl::Status Transact(std::vector<Queued>* taken);
  absl::Status Commit();
  void RollBack();
  // Closes every connection and reads the file as after a crash; sets mark_.
  absl::Status Reopen();
  void Answer(std::vector<Queued>* taken);

  // Runs `query` (SqliteConnection* → StatusOr<…>) in a read transaction.
  template <typename Query>
  auto Read(Query query) -> decltype(query(static_cast<SqliteConnection*>(nullptr)));
  absl::StatusOr<std::unique_ptr<SqliteConnection>> BorrowReader();
  void ReturnReader(std::unique_ptr<SqliteConnection> reader);

  const Options options_;
  const std::unique_ptr<SqliteLock> lock_;  // outlives every connection

  // The writer thread's own.
  std::unique_ptr<SqliteConnection> writer_;  // null after a failed Reopen
  int64_t mark_;                              // commit_mark of the last transaction known to be durable

  mutable base::Mutex mu_;
  base::CondVar work_;
  std::vector<Queued> queue_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  StoreStats stats_ ABSL_GUARDED_BY(mu_);

  base::Mutex readers_mu_;
  base::CondVar reader_returned_;
  std::vector<std::unique_ptr<SqliteConnection>> idle_readers_ ABSL_GUARDED_BY(readers_mu_);
  int lent_readers_ ABSL_GUARDED_BY(readers_mu_) = 0;
  bool readers_barred_ ABSL_GUARDED_BY(readers_mu_) = false;

  std::thread thread_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_SQLITE_STORE_H_
