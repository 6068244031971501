// What each mutation does to the tables. Thread contract: that of the connection.
#ifndef QZO_SERVER_SQLITE_MUTATIONS_H_
#define QZO_SERVER_SQLITE_MUTATIONS_H_

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/sqlite_connection.h"
#include "server/store.h"

namespace qzo::server {

// Applies the batch within the open transaction: all of it or, when `*outcome` is an error, nothing. `now` becomes
// update_time. A returned error says that the transaction as a whole is of no more use (disk full, I/O) and must be
// rolled back.
absl::Status ApplyBatch(SqliteConnection* db, absl::Time now, const WriteBatch& batch, absl::Status* outcome);

}  // namespace qzo::server

#endif  // QZO_SERVER_SQLITE_MUTATIONS_H_
