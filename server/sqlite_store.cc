#include "server/sqlite_store.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/sqlite_journal.h"
#include "server/sqlite_mutations.h"
#include "server/sqlite_queries.h"
#include "server/sqlite_schema.h"

namespace qzo::server {
namespace {

constexpr int kMaxReaders = 4;
constexpr absl::Duration kRequestsKept = absl::Hours(7 * 24);

absl::StatusOr<int64_t> ReadMark(SqliteConnection* db) { return db->Value(0, "SELECT sequence FROM commit_mark"); }

bool RefusedByCheck(const absl::Status& status) {
  return absl::IsAborted(status) || absl::IsAlreadyExists(status) || absl::IsNotFound(status) ||
         absl::IsInvalidArgument(status);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(Options options) {
  // One name for one file: the lock and SQLite's own side files must not depend on a symbolic link on the way.
  std::error_code error;
  const std::filesystem::path path = std::filesystem::weakly_canonical(options.path, error);
  if (error) return base::ErrnoStatus(error.value(), "resolve", options.path);
  options.path = path.string();
  const std::string directory = path.parent_path().string();
  QZO_RETURN_IF_ERROR(options.fs->CreateDirectories(directory));
  QZO_ASSIGN_OR_RETURN(const std::string network, options.network_file_system(directory));
  if (!network.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(options.path, ": on a network file system (", network,
                     "), where SQLite's locks and syncs cannot be relied on; use a local disk"));
  }
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<SqliteLock> lock, SqliteLock::Take(options.path));
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<SqliteConnection> writer, SqliteConnection::Open(options.path, options.vfs));
  QZO_RETURN_IF_ERROR(MigrateSqliteSchema(writer.get(), options.path, SqliteMigrations()));
  QZO_RETURN_IF_ERROR(
      writer->Run("DELETE FROM request WHERE time_ns < ?1", absl::ToUnixNanos(options.clock->Now() - kRequestsKept)));
  QZO_ASSIGN_OR_RETURN(const int64_t mark, ReadMark(writer.get()));
  std::unique_ptr<SqliteStore> store(new SqliteStore(std::move(options), std::move(lock), std::move(writer), mark));
  store->thread_ = std::thread([raw = store.get()] { raw->RunWriter(); });
  return store;
}

SqliteStore::~SqliteStore() {
  {
    base::MutexLock lock(&mu_);
    stopping_ = true;
    work_.SignalOne();
  }
  thread_.join();
}

void SqliteStore::Submit(WriteBatch batch, WriteDone done) {
  Queued queued{std::move(batch), std::move(done), absl::OkStatus()};
  base::MutexLock lock(&mu_);
  if (queue_.size() >= options_.max_queued_batches) {
    // Answered in its turn: the caller may hold a lock that `done` takes.
    queued.batch.clear();
    queued.outcome = absl::UnavailableError(
        absl::StrCat(options_.path, ": ", options_.max_queued_batches, " writes are waiting for the disk"));
    queued.refused = true;
  }
  queue_.push_back(std::move(queued));
  work_.SignalOne();
}

void SqliteStore::RunWriter() {
  for (;;) {
    std::vector<Queued> taken;
    {
      base::MutexLock lock(&mu_);
      while (queue_.empty() && !stopping_) work_.Wait(&mu_);
      if (queue_.empty()) return;
      taken.swap(queue_);
    }
    const absl::Status whole = Transact(&taken);
    if (!whole.ok()) {
      // A new status each: copies share a reference count, which thread sanitizer cannot follow into Debian's Abseil.
      for (Queued& queued : taken) {
        if (!queued.refused) queued.outcome = absl::Status(whole.code(), whole.message());
      }
    }
    Answer(&taken);
  }
}

absl::Status SqliteStore::Transact(std::vector<Queued>* taken) {
  if (writer_ == nullptr) QZO_RETURN_IF_ERROR(Reopen());
  QZO_RETURN_IF_ERROR(writer_->Run("BEGIN IMMEDIATE"));
  const absl::Time now = options_.clock->Now();
  bool any = false;
  for (Queued& queued : *taken) {
    if (queued.refused) continue;
    if (absl::Status broken = ApplyBatch(writer_.get(), now, queued.batch, &queued.outcome); !broken.ok()) {
      RollBack();
      return broken;
    }
    any = any || queued.outcome.ok();
  }
  if (any) return Commit();
  RollBack();
  return absl::OkStatus();
}

absl::Status SqliteStore::Commit() {
  const int64_t mark = mark_ + 1;
  absl::Status status = writer_->Run("UPDATE commit_mark SET sequence = ?1", mark);
  if (!status.ok()) {
    RollBack();
    return status;
  }
  status = writer_->Run("COMMIT");
  if (status.ok()) {
    mark_ = mark;
    return status;
  }
  const bool nothing_written = writer_->LastErrorLeftNothing();
  RollBack();
  if (nothing_written) return status;
  if (const absl::Status reopened = Reopen(); !reopened.ok()) {
    return absl::UnknownError(absl::StrCat(status.message(), "; reading the file again: ", reopened.message()));
  }
  return mark_ == mark ? absl::OkStatus() : status;
}

void SqliteStore::RollBack() {
  if (!writer_->InTransaction() || writer_->Run("ROLLBACK").ok()) return;
  writer_->set_closing(SqliteConnection::Closing::kLeaveLog);
  writer_.reset();
}

absl::Status SqliteStore::Reopen() {
  {
    base::MutexLock lock(&readers_mu_);
    readers_barred_ = true;
    while (lent_readers_ > 0) reader_returned_.Wait(&readers_mu_);
    idle_readers_.clear();
  }
  // The log must stay as it is: closing would otherwise checkpoint what this process believed to be committed. Without
  // any connection left, opening the file is a recovery, which takes whatever whole transactions the log holds.
  if (writer_ != nullptr) writer_->set_closing(SqliteConnection::Closing::kLeaveLog);
  writer_.reset();
  absl::Status status = [this]() -> absl::Status {
    QZO_ASSIGN_OR_RETURN(std::unique_ptr<SqliteConnection> writer, SqliteConnection::Open(options_.path, options_.vfs));
    // After a failed fsync the kernel may call pages clean that never reached the disk: write and sync them again
    // elsewhere.
    QZO_RETURN_IF_ERROR(writer->Run("PRAGMA wal_checkpoint(TRUNCATE)"));
    QZO_ASSIGN_OR_RETURN(mark_, ReadMark(writer.get()));
    writer_ = std::move(writer);
    return absl::OkStatus();
  }();
  base::MutexLock lock(&readers_mu_);
  readers_barred_ = false;
  reader_returned_.SignalAll();
  return status;
}

void SqliteStore::Answer(std::vector<Queued>* taken) {
  {
    base::MutexLock lock(&mu_);
    const uint64_t batches_before = stats_.batches;
    for (const Queued& queued : *taken) {
      if (!queued.outcome.ok()) {
        stats_.errors += RefusedByCheck(queued.outcome) ? 0 : 1;
        continue;
      }
      ++stats_.batches;
      stats_.steps +=
          static_cast<uint64_t>(std::count_if(queued.batch.begin(), queued.batch.end(),
                                              [](const Mutation& m) { return std::holds_alternative<AppendStep>(m); }));
    }
    stats_.commits += stats_.batches > batches_before ? 1 : 0;
  }
  for (Queued& queued : *taken) queued.done(std::move(queued.outcome));
}

absl::StatusOr<std::unique_ptr<SqliteConnection>> SqliteStore::BorrowReader() {
  {
    base::MutexLock lock(&readers_mu_);
    while (readers_barred_ || (idle_readers_.empty() && lent_readers_ >= kMaxReaders))
      reader_returned_.Wait(&readers_mu_);
    ++lent_readers_;
    if (!idle_readers_.empty()) {
      std::unique_ptr<SqliteConnection> reader = std::move(idle_readers_.back());
      idle_readers_.pop_back();
      return reader;
    }
  }
  absl::StatusOr<std::unique_ptr<SqliteConnection>> reader = SqliteConnection::Open(options_.path, options_.vfs);
  if (reader.ok()) {
    if (const absl::Status status = (*reader)->Script("PRAGMA query_only = ON"); !status.ok()) reader = status;
  }
  if (!reader.ok()) ReturnReader(nullptr);
  return reader;
}

void SqliteStore::ReturnReader(std::unique_ptr<SqliteConnection> reader) {
  base::MutexLock lock(&readers_mu_);
  --lent_readers_;
  if (reader != nullptr) idle_readers_.push_back(std::move(reader));
  reader_returned_.SignalAll();
}

template <typename Query>
auto SqliteStore::Read(Query query) -> decltype(query(static_cast<SqliteConnection*>(nullptr))) {
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<SqliteConnection> reader, BorrowReader());
  const absl::Status begun = reader->Run("BEGIN");
  auto result = begun.ok() ? query(reader.get()) : begun;
  // A connection that could not leave its transaction would hold up checkpoints for ever.
  if (!begun.ok() || !reader->Run("COMMIT").ok()) reader.reset();
  ReturnReader(std::move(reader));
  return result;
}

absl::StatusOr<StoredResource> SqliteStore::Get(const ResourceKey& key) {
  return Read([&](SqliteConnection* db) { return QueryResource(db, key); });
}

absl::StatusOr<StoredResource> SqliteStore::GetByUid(std::string_view uid) {
  return Read([&](SqliteConnection* db) { return QueryResourceByUid(db, uid); });
}

absl::StatusOr<std::vector<StoredResource>> SqliteStore::List(const ListQuery& query) {
  return Read([&](SqliteConnection* db) { return QueryResources(db, query); });
}

absl::StatusOr<std::optional<std::string>> SqliteStore::ResourceOfRequest(std::string_view kind,
                                                                          std::string_view project,
                                                                          std::string_view request_id) {
  return Read([&](SqliteConnection* db) { return QueryRequest(db, kind, project, request_id); });
}

absl::StatusOr<method::JournalChunk> SqliteStore::ReadJournal(std::string_view uid, uint32_t from, uint32_t to) {
  return Read([&](SqliteConnection* db) { return ReadJournalSteps(db, uid, from, to); });
}

absl::StatusOr<std::vector<StoredEvent>> SqliteStore::ReadEvents(std::string_view uid, uint64_t from, int limit) {
  return Read([&](SqliteConnection* db) { return QueryEvents(db, uid, from, limit); });
}

absl::StatusOr<uint64_t> SqliteStore::LastEventSequence(std::string_view uid) {
  return Read([&](SqliteConnection* db) { return QueryLastEvent(db, uid); });
}

absl::StatusOr<std::vector<StoredEvaluation>> SqliteStore::ReadEvaluations(std::string_view uid) {
  return Read([&](SqliteConnection* db) { return QueryEvaluations(db, uid); });
}

absl::StatusOr<std::vector<StoredAudit>> SqliteStore::ListAudit(const AuditQuery& query) {
  return Read([&](SqliteConnection* db) { return QueryAudit(db, query); });
}

StoreStats SqliteStore::Stats() const {
  base::MutexLock lock(&mu_);
  return stats_;
}

}  // namespace qzo::server
