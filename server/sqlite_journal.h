// The journal in SQLite: the newest steps are rows, and every kStepsPerChunk of them become one checksummed chunk in
// the transaction that fills it. Both carry the rule's state after each step, so any step can be resumed from without
// the others. Thread contract: that of the connection.
#ifndef QZO_SERVER_SQLITE_JOURNAL_H_
#define QZO_SERVER_SQLITE_JOURNAL_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "method/journal.h"
#include "server/sqlite_connection.h"
#include "server/store.h"

namespace qzo::server {

inline constexpr uint32_t kStepsPerChunk = 1024;

// Inside a transaction. ABORTED when the fence stands elsewhere; INVALID_ARGUMENT when the record could not be read
// back (a coefficient that is not finite, d and coefficients of different lengths, another number of probes than the
// steps before).
absl::Status AppendJournalStep(SqliteConnection* db, const AppendStep& append);

// Store::ReadJournal; the caller holds a read transaction. Empty for an unknown uid.
absl::StatusOr<method::JournalChunk> ReadJournalSteps(SqliteConnection* db, std::string_view uid, uint32_t from,
                                                      uint32_t to);

}  // namespace qzo::server

#endif  // QZO_SERVER_SQLITE_JOURNAL_H_
