// A typed layer over one SQLite connection: statements are prepared once and kept, result codes become absl::Status.
// Thread-compatible: one thread at a time may use a connection and the cursors it gave out.
//
// Possible errors of every call, with the path and SQLite's text: RESOURCE_EXHAUSTED (disk full, out of memory),
// DATA_LOSS (the file is damaged or no database), PERMISSION_DENIED, UNAVAILABLE (locked by another process), INTERNAL
// (I/O and the rest).
#ifndef QZO_SERVER_SQLITE_CONNECTION_H_
#define QZO_SERVER_SQLITE_CONNECTION_H_

#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"

struct sqlite3;
struct sqlite3_stmt;

namespace qzo::server {

// Binds as a BLOB, where a string_view binds as TEXT.
struct SqlBlob {
  std::string_view bytes;
};

class SqliteConnection;

// The rows of a running statement; its destruction ends the statement.
class SqlCursor {
 public:
  ~SqlCursor();
  SqlCursor(SqlCursor&& other) noexcept : db_(other.db_), statement_(std::exchange(other.statement_, nullptr)) {}
  SqlCursor& operator=(SqlCursor&&) = delete;

  // Moves to the next row, the first one at the first call; false when there is none left.
  absl::StatusOr<bool> Next();
  int64_t Int(int column) const;
  // TEXT or BLOB; valid until Next.
  std::string_view Bytes(int column) const;
  std::string String(int column) const { return std::string(Bytes(column)); }

 private:
  friend class SqliteConnection;
  SqlCursor(SqliteConnection* db, sqlite3_stmt* statement) : db_(db), statement_(statement) {}
  SqliteConnection* db_;
  sqlite3_stmt* statement_;
};

class SqliteConnection {
 public:
  enum class Closing { kCheckpoint, kLeaveLog };

  // Creates the database if need be, in WAL mode with synchronous=FULL. `vfs` names a registered SQLite VFS, "" = the
  // default.
  static absl::StatusOr<std::unique_ptr<SqliteConnection>> Open(const std::string& path, const std::string& vfs);
  ~SqliteConnection();
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  // `arguments` bind to ?1, ?2, … : integers, string_view (TEXT) or SqlBlob, which must outlive the cursor. `sql` names
  // the kept statement, so a statement cannot run twice at the same time.
  template <typename... Arguments>
  absl::StatusOr<SqlCursor> Query(std::string_view sql, const Arguments&... arguments) {
    QZO_ASSIGN_OR_RETURN(SqlCursor cursor, Prepare(sql));
    int index = 0;
    int code = 0;
    ((code = code != 0 ? code : Bind(cursor.statement_, ++index, arguments)), ...);
    if (code != 0) return Error(code);
    return cursor;
  }
  // A statement whose rows, if any, do not matter.
  template <typename... Arguments>
  absl::Status Run(std::string_view sql, const Arguments&... arguments) {
    QZO_ASSIGN_OR_RETURN(SqlCursor cursor, Query(sql, arguments...));
    for (;;) {
      QZO_ASSIGN_OR_RETURN(const bool row, cursor.Next());
      if (!row) return absl::OkStatus();
    }
  }
  // The integer of a one-row query; `otherwise` when it has no row.
  template <typename... Arguments>
  absl::StatusOr<int64_t> Value(int64_t otherwise, std::string_view sql, const Arguments&... arguments) {
    QZO_ASSIGN_OR_RETURN(SqlCursor cursor, Query(sql, arguments...));
    QZO_ASSIGN_OR_RETURN(const bool row, cursor.Next());
    return row ? cursor.Int(0) : otherwise;
  }
  // Several statements, not kept.
  absl::Status Script(const std::string& sql);

  // Rows changed by the last INSERT, UPDATE or DELETE.
  int64_t Changes() const;
  bool InTransaction() const;
  // Whether the last error says for certain that a COMMIT did not happen. An I/O error does not: it may have come after
  // the last byte was written.
  bool LastErrorLeftNothing() const;
  // What the destructor does with the log, if this is the database's last connection. kCheckpoint unless set.
  void set_closing(Closing closing);

 private:
  friend class SqlCursor;
  SqliteConnection(std::string path, sqlite3* db) : path_(std::move(path)), db_(db) {}

  absl::StatusOr<SqlCursor> Prepare(std::string_view sql);
  static int BindInt(sqlite3_stmt* statement, int index, int64_t value);
  template <std::integral Integer>
  static int Bind(sqlite3_stmt* statement, int index, Integer value) {
    return BindInt(statement, index, static_cast<int64_t>(value));
  }
  static int Bind(sqlite3_stmt* statement, int index, std::string_view value);
  static int Bind(sqlite3_stmt* statement, int index, SqlBlob value);
  absl::Status Error(int code);

  const std::string path_;
  sqlite3* const db_;
  absl::flat_hash_map<std::string, sqlite3_stmt*> statements_;
  int last_error_ = 0;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_SQLITE_CONNECTION_H_
