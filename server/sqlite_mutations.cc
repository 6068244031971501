#include "server/sqlite_mutations.h"

#include <variant>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/sqlite_journal.h"

namespace qzo::server {
namespace {

absl::Status NoSuch(std::string_view uid) {
  return absl::NotFoundError(absl::StrCat("there is no resource with uid ", std::string(uid)));
}

// The row number of a resource. NOT_FOUND.
absl::StatusOr<int64_t> NumberOf(SqliteConnection* db, std::string_view uid) {
  QZO_ASSIGN_OR_RETURN(const int64_t number, db->Value(0, "SELECT number FROM resource WHERE uid = ?1", uid));
  if (number == 0) return NoSuch(uid);
  return number;
}

struct Applier {
  SqliteConnection* const db;
  const absl::Time now;

  absl::Status operator()(const CreateResource& create) const {
    const StoredResource& r = create.resource;
    const std::string name = absl::StrCat(r.key.kind, " ", r.key.project, "/", r.key.id);
    if (r.next_step != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": created with next_step ", r.next_step, ", its journal is empty"));
    }
    if (!create.request_id.empty()) {
      QZO_RETURN_IF_ERROR(
          db->Run("INSERT INTO request(kind, project, request_id, uid, time_ns) VALUES (?1, ?2, ?3, ?4, ?5) "
                  "ON CONFLICT DO NOTHING",
                  r.key.kind, r.key.project, create.request_id, r.uid, absl::ToUnixNanos(now)));
      if (db->Changes() == 0) {
        return absl::AlreadyExistsError(absl::StrCat(name, ": request_id ", create.request_id, " was used before"));
      }
    }
    // ON CONFLICT rather than a SELECT before: one statement, and it covers the uid as well.
    QZO_ASSIGN_OR_RETURN(
        const int64_t number,
        db->Value(0,
                  "INSERT INTO resource(uid, kind, project, id, state, create_ns, update_ns, body) "
                  "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING RETURNING number",
                  r.uid, r.key.kind, r.key.project, r.key.id, r.state, absl::ToUnixNanos(r.create_time),
                  absl::ToUnixNanos(r.update_time), SqlBlob{r.body}));
    if (number == 0) return absl::AlreadyExistsError(absl::StrCat(name, " exists already"));
    return db->Run("INSERT INTO fence(resource, epoch, next_step, probes) VALUES (?1, ?2, 0, 0)", number, r.epoch);
  }

  absl::Status operator()(const UpdateResource& update) const {
    QZO_ASSIGN_OR_RETURN(const int64_t number, NumberOf(db, update.uid));
    if (update.epoch.has_value()) {
      QZO_ASSIGN_OR_RETURN(const int64_t epoch, db->Value(0, "SELECT epoch FROM fence WHERE resource = ?1", number));
      if (static_cast<uint64_t>(epoch) != *update.epoch) {
        return absl::AbortedError(absl::StrCat("job ", update.uid, ": update in epoch ", *update.epoch,
                                               " refused: the job is in epoch ", static_cast<uint64_t>(epoch)));
      }
    }
    return db->Run("UPDATE resource SET state = ?2, body = ?3, update_ns = ?4 WHERE number = ?1", number, update.state,
                   SqlBlob{update.body}, absl::ToUnixNanos(now));
  }

  absl::Status operator()(const TakeEpoch& take) const {
    QZO_ASSIGN_OR_RETURN(const int64_t number, NumberOf(db, take.uid));
    return db->Run("UPDATE fence SET epoch = epoch + 1 WHERE resource = ?1", number);
  }

  absl::Status operator()(const DeleteResource& removed) const {
    return db->Run("DELETE FROM resource WHERE uid = ?1", removed.uid);  // the other tables follow by foreign key
  }

  absl::Status operator()(const AppendStep& append) const { return AppendJournalStep(db, append); }

  absl::Status operator()(const AppendEvent& append) const {
    QZO_RETURN_IF_ERROR(db->Run(
        "INSERT INTO event(job, sequence, time_ns, body) SELECT number, ?2, ?3, ?4 FROM resource WHERE uid = ?1 "
        "AND ?2 = 1 + (SELECT coalesce(max(sequence), 0) FROM event WHERE job = number)",
        append.uid, append.event.sequence, absl::ToUnixNanos(append.event.time), SqlBlob{append.event.body}));
    if (db->Changes() == 1) return absl::OkStatus();
    QZO_ASSIGN_OR_RETURN(const int64_t number, NumberOf(db, append.uid));
    QZO_ASSIGN_OR_RETURN(const int64_t last, db->Value(0, "SELECT max(sequence) FROM event WHERE job = ?1", number));
    return absl::AbortedError(
        absl::StrCat("job ", append.uid, ": event ", append.event.sequence, " refused: the next event is ", last + 1));
  }

  absl::Status operator()(const PutEvaluation& put) const {
    QZO_ASSIGN_OR_RETURN(const int64_t number, NumberOf(db, put.uid));
    return db->Run(
        "INSERT INTO evaluation(job, step, name, body) VALUES (?1, ?2, ?3, ?4) "
        "ON CONFLICT DO UPDATE SET body = excluded.body",
        number, put.step, put.name, SqlBlob{put.body});
  }

  absl::Status operator()(const AppendAudit& append) const {
    const StoredAudit& r = append.record;
    return db->Run(
        "INSERT INTO audit(time_ns, project, caller, peer, method, resource, code, reason) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        absl::ToUnixNanos(r.time), r.project, r.caller, r.peer, r.method, r.resource, r.code, r.reason);
  }

  absl::Status operator()(const ForgetAudit& forget) const {
    return db->Run("DELETE FROM audit WHERE sequence <= ?1", forget.through);
  }
};

absl::Status ApplyAll(SqliteConnection* db, absl::Time now, const WriteBatch& batch) {
  for (const Mutation& mutation : batch) QZO_RETURN_IF_ERROR(std::visit(Applier{db, now}, mutation));
  return absl::OkStatus();
}

}  // namespace

absl::Status ApplyBatch(SqliteConnection* db, absl::Time now, const WriteBatch& batch, absl::Status* outcome) {
  // One statement is atomic by itself, and these are half of all batches.
  if (batch.size() == 1 && std::holds_alternative<AppendEvent>(batch.front())) {
    *outcome = ApplyAll(db, now, batch);
    return db->InTransaction() ? absl::OkStatus() : *outcome;
  }
  QZO_RETURN_IF_ERROR(db->Run("SAVEPOINT batch"));
  *outcome = ApplyAll(db, now, batch);
  if (!db->InTransaction()) return *outcome;  // SQLite rolled everything back
  if (!outcome->ok()) QZO_RETURN_IF_ERROR(db->Run("ROLLBACK TO batch"));
  return db->Run("RELEASE batch");
}

}  // namespace qzo::server
