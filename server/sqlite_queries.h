// The queries of the Store interface over one connection; the caller holds a read transaction around each.
#ifndef QZO_SERVER_SQLITE_QUERIES_H_
#define QZO_SERVER_SQLITE_QUERIES_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/sqlite_connection.h"
#include "server/store.h"

namespace qzo::server {

absl::StatusOr<StoredResource> QueryResource(SqliteConnection* db, const ResourceKey& key);
absl::StatusOr<StoredResource> QueryResourceByUid(SqliteConnection* db, std::string_view uid);
absl::StatusOr<std::vector<StoredResource>> QueryResources(SqliteConnection* db, const ListQuery& query);
absl::StatusOr<std::optional<std::string>> QueryRequest(SqliteConnection* db, std::string_view kind,
                                                        std::string_view project, std::string_view request_id);
absl::StatusOr<std::vector<StoredEvent>> QueryEvents(SqliteConnection* db, std::string_view uid, uint64_t from,
                                                     int limit);
absl::StatusOr<uint64_t> QueryLastEvent(SqliteConnection* db, std::string_view uid);
absl::StatusOr<std::vector<StoredEvaluation>> QueryEvaluations(SqliteConnection* db, std::string_view uid);

absl::StatusOr<std::vector<StoredAudit>> QueryAudit(SqliteConnection* db, const AuditQuery& query);

}  // namespace qzo::server

#endif  // QZO_SERVER_SQLITE_QUERIES_H_
