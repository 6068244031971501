// The tables of the SQLite store and the steps that bring an older file up to date (forward only).
#ifndef QZO_SERVER_SQLITE_SCHEMA_H_
#define QZO_SERVER_SQLITE_SCHEMA_H_

#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/sqlite_connection.h"

namespace qzo::server {

// The SQL that leads from schema version i to i + 1. Entries are never edited once released.
absl::Span<const char* const> SqliteMigrations();

// Brings the database to version migrations.size(), each version in a transaction of its own; `path` is for messages.
// FAILED_PRECONDITION: the file was written by a newer server, or is some other program's database.
absl::Status MigrateSqliteSchema(SqliteConnection* db, const std::string& path,
                                 absl::Span<const char* const> migrations);

}  // namespace qzo::server

#endif  // QZO_SERVER_SQLITE_SCHEMA_H_
