#include "server/sqlite_connection.h"

#include <sqlite3.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/text.h"

namespace qzo::server {
namespace {

// trusted_schema and cell_size_check: the file may be damaged, or come from somebody else.
constexpr char kSettings[] =
    "PRAGMA synchronous = FULL;"
    "PRAGMA foreign_keys = ON;"
    "PRAGMA temp_store = MEMORY;"
    "PRAGMA journal_size_limit = 67108864;"
    "PRAGMA trusted_schema = OFF;"
    "PRAGMA cell_size_check = ON;";
constexpr int kBusyTimeoutMs = 5000;  // for an administrator's sqlite3 shell: the server itself is alone

}  // namespace

SqlCursor::~SqlCursor() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

absl::StatusOr<bool> SqlCursor::Next() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return db_->Error(code);
}

int64_t SqlCursor::Int(int column) const { return sqlite3_column_int64(statement_, column); }

std::string_view SqlCursor::Bytes(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);  // before column_bytes: it may convert
  return {static_cast<const char*>(data), static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

absl::StatusOr<std::unique_ptr<SqliteConnection>> SqliteConnection::Open(const std::string& path,
                                                                         const std::string& vfs) {
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(
      path.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
      vfs.empty() ? nullptr : vfs.c_str());
  if (handle == nullptr) return absl::ResourceExhaustedError(absl::StrCat(path, ": out of memory"));
  std::unique_ptr<SqliteConnection> db(new SqliteConnection(path, handle));
  if (code != SQLITE_OK) return db->Error(code);
  sqlite3_busy_timeout(handle, kBusyTimeoutMs);
  {
    QZO_ASSIGN_OR_RETURN(SqlCursor mode, db->Query("PRAGMA journal_mode = WAL"));
    QZO_ASSIGN_OR_RETURN(const bool row, mode.Next());
    if (!row || mode.Bytes(0) != "wal") {
      return absl::FailedPreconditionError(
          absl::StrCat(path, ": this file system cannot hold a write-ahead log (no shared memory maps)"));
    }
  }
  QZO_RETURN_IF_ERROR(db->Script(kSettings));
  return db;
}

SqliteConnection::~SqliteConnection() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  QZO_CHECK(sqlite3_close(db_) == SQLITE_OK);
}

absl::StatusOr<SqlCursor> SqliteConnection::Prepare(std::string_view sql) {
  sqlite3_stmt*& statement = statements_[base::ToAbsl(sql)];
  if (statement == nullptr) {
    const int code = sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                                        &statement, nullptr);
    if (code != SQLITE_OK) return Error(code);
  }
  QZO_CHECK(sqlite3_stmt_busy(statement) == 0);
  return SqlCursor(this, statement);
}

int SqliteConnection::BindInt(sqlite3_stmt* statement, int index, int64_t value) {
  return sqlite3_bind_int64(statement, index, value);
}

int SqliteConnection::Bind(sqlite3_stmt* statement, int index, std::string_view value) {
  const char* data = value.data() == nullptr ? "" : value.data();  // a null pointer would bind NULL
  return sqlite3_bind_text64(statement, index, data, value.size(), SQLITE_STATIC, SQLITE_UTF8);
}

int SqliteConnection::Bind(sqlite3_stmt* statement, int index, SqlBlob value) {
  const char* data = value.bytes.data() == nullptr ? "" : value.bytes.data();
  return sqlite3_bind_blob64(statement, index, data, value.bytes.size(), SQLITE_STATIC);
}

absl::Status SqliteConnection::Script(const std::string& sql) {
  const int code = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Error(code);
}

int64_t SqliteConnection::Changes() const { return sqlite3_changes64(db_); }
bool SqliteConnection::InTransaction() const { return sqlite3_get_autocommit(db_) == 0; }
bool SqliteConnection::LastErrorLeftNothing() const { return last_error_ == SQLITE_FULL || last_error_ == SQLITE_BUSY; }

void SqliteConnection::set_closing(Closing closing) {
  sqlite3_db_config(db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, closing == Closing::kLeaveLog ? 1 : 0, nullptr);
}

absl::Status SqliteConnection::Error(int code) {
  last_error_ = code & 0xff;  // the rest says where: SQLITE_IOERR_FSYNC and so on
  std::string text = absl::StrCat(path_, ": ", sqlite3_errmsg(db_), " (SQLite error ", code);
  const int system_error =
      last_error_ == SQLITE_IOERR || last_error_ == SQLITE_CANTOPEN ? sqlite3_system_errno(db_) : 0;
  if (system_error != 0) absl::StrAppend(&text, ", ", std::strerror(system_error));
  text += ")";
  if (system_error == ENOSPC || system_error == EDQUOT) return absl::ResourceExhaustedError(text);
  if (system_error == EACCES) return absl::PermissionDeniedError(text);
  switch (last_error_) {
    case SQLITE_FULL:
    case SQLITE_NOMEM:
      return absl::ResourceExhaustedError(text);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(text);
    case SQLITE_PERM:
    case SQLITE_READONLY:
      return absl::PermissionDeniedError(text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(text);
    default:
      return absl::InternalError(text);
  }
}

}  // namespace qzo::server
