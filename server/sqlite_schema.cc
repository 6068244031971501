#include "server/sqlite_schema.h"

#include "absl/strings/str_cat.h"

namespace qzo::server {
namespace {

// `fence` is apart from `resource` so that a step rewrites 20 bytes, not the job's body.
// `step_tail` holds the last next_step mod 1024 steps, one chunk of one record each; `step_chunk` the others.
// `commit_mark` changes in every transaction: after an I/O error in COMMIT it tells whether that commit happened.
// `request` outlives its resource: a retried Create must not make a deleted resource again.
constexpr const char* kMigrations[] = {
    R"sql(
CREATE TABLE commit_mark(sequence INTEGER NOT NULL) STRICT;
INSERT INTO commit_mark VALUES (0);

CREATE TABLE resource(
  number INTEGER PRIMARY KEY,
  uid TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  project TEXT NOT NULL,
  id TEXT NOT NULL,
  state INTEGER NOT NULL,
  create_ns INTEGER NOT NULL,
  update_ns INTEGER NOT NULL,
  body BLOB NOT NULL,
  UNIQUE (kind, project, id)) STRICT;
CREATE INDEX resource_by_time ON resource(kind, create_ns, uid);
CREATE INDEX resource_by_project ON resource(kind, project, create_ns, uid);

CREATE TABLE fence(
  resource INTEGER PRIMARY KEY REFERENCES resource ON DELETE CASCADE,
  epoch INTEGER NOT NULL,
  next_step INTEGER NOT NULL,
  probes INTEGER NOT NULL) STRICT;

CREATE TABLE request(
  kind TEXT NOT NULL,
  project TEXT NOT NULL,
  request_id TEXT NOT NULL,
  uid TEXT NOT NULL,
  time_ns INTEGER NOT NULL,
  PRIMARY KEY (kind, project, request_id)) STRICT, WITHOUT ROWID;

CREATE TABLE step_tail(
  job INTEGER NOT NULL REFERENCES resource ON DELETE CASCADE,
  step INTEGER NOT NULL,
  record BLOB NOT NULL,
  PRIMARY KEY (job, step)) STRICT, WITHOUT ROWID;

CREATE TABLE step_chunk(
  job INTEGER NOT NULL REFERENCES resource ON DELETE CASCADE,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  records BLOB NOT NULL,
  PRIMARY KEY (job, last)) STRICT;

CREATE TABLE event(
  job INTEGER NOT NULL REFERENCES resource ON DELETE CASCADE,
  sequence INTEGER NOT NULL,
  time_ns INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (job, sequence)) STRICT, WITHOUT ROWID;

CREATE TABLE evaluation(
  job INTEGER NOT NULL REFERENCES resource ON DELETE CASCADE,
  step INTEGER NOT NULL,
  name TEXT NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (job, step, name)) STRICT, WITHOUT ROWID;
)sql",
    R"sql(
CREATE TABLE audit(
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  time_ns INTEGER NOT NULL,
  project TEXT NOT NULL,
  caller TEXT NOT NULL,
  peer TEXT NOT NULL,
  method TEXT NOT NULL,
  resource TEXT NOT NULL,
  code TEXT NOT NULL,
  reason TEXT NOT NULL) STRICT;
CREATE INDEX audit_by_project ON audit(project, sequence);
)sql",
};

}  // namespace

absl::Span<const char* const> SqliteMigrations() { return kMigrations; }

absl::Status MigrateSqliteSchema(SqliteConnection* db, const std::string& path,
                                 absl::Span<const char* const> migrations) {
  QZO_ASSIGN_OR_RETURN(const int64_t tables, db->Value(0, "SELECT count(*) FROM sqlite_schema"));
  QZO_ASSIGN_OR_RETURN(
      const int64_t known,
      db->Value(0, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'schema_version'"));
  if (tables > 0 && known == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": an SQLite database of another program (it has no schema_version)"));
  }
  int64_t version = 0;
  if (known > 0) {
    QZO_ASSIGN_OR_RETURN(version, db->Value(0, "SELECT version FROM schema_version"));
  }
  const int64_t latest = static_cast<int64_t>(migrations.size());
  if (version > latest) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": written by a newer server: schema version ", version, ", this server knows ", latest,
                     " at most; run the newer server, or restore a backup made before the upgrade"));
  }
  for (; version < latest; ++version) {
    const absl::Status migrated = db->Script(absl::StrCat(
        "BEGIN EXCLUSIVE;",
        version == 0
            ? "CREATE TABLE schema_version(version INTEGER NOT NULL) STRICT; INSERT INTO schema_version VALUES (0);"
            : "",
        migrations[static_cast<size_t>(version)], ";UPDATE schema_version SET version = ", version + 1, ";COMMIT;"));
    if (!migrated.ok()) {
      if (db->InTransaction()) (void)db->Script("ROLLBACK");
      return absl::Status(migrated.code(),
                          absl::StrCat("upgrade to schema version ", version + 1, ": ", migrated.message()));
    }
  }
  return absl::OkStatus();
}

}  // namespace qzo::server
