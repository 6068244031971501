#include "server/sqlite_queries.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/text.h"

namespace qzo::server {
namespace {

constexpr std::string_view kSelectResource =
    "SELECT uid, kind, project, id, state, epoch, next_step, create_ns, update_ns, body "
    "FROM resource JOIN fence ON resource = number ";

StoredResource ResourceOf(const SqlCursor& row) {
  StoredResource r;
  r.uid = row.String(0);
  r.key = {row.String(1), row.String(2), row.String(3)};
  r.state = static_cast<int32_t>(row.Int(4));
  r.epoch = static_cast<uint64_t>(row.Int(5));
  r.next_step = static_cast<uint32_t>(row.Int(6));
  r.create_time = absl::FromUnixNanos(row.Int(7));
  r.update_time = absl::FromUnixNanos(row.Int(8));
  r.body = row.String(9);
  return r;
}

// All rows of a cursor, each made by `make`.
template <typename Make>
auto Collect(absl::StatusOr<SqlCursor> cursor, Make make)
    -> absl::StatusOr<std::vector<decltype(make(std::declval<const SqlCursor&>()))>> {
  if (!cursor.ok()) return cursor.status();
  std::vector<decltype(make(*cursor))> rows;
  for (;;) {
    QZO_ASSIGN_OR_RETURN(const bool row, cursor->Next());
    if (!row) return rows;
    rows.push_back(make(*cursor));
  }
}

absl::StatusOr<StoredResource> TheOnly(absl::StatusOr<std::vector<StoredResource>> found, std::string_view name) {
  if (!found.ok()) return found.status();
  if (found->empty()) return absl::NotFoundError(absl::StrCat(base::ToAbsl(name), " does not exist"));
  return std::move(found->front());
}

}  // namespace

absl::StatusOr<StoredResource> QueryResource(SqliteConnection* db, const ResourceKey& key) {
  static const std::string kSql =
      absl::StrCat(base::ToAbsl(kSelectResource), "WHERE kind = ?1 AND project = ?2 AND id = ?3");
  return TheOnly(Collect(db->Query(kSql, key.kind, key.project, key.id), ResourceOf),
                 absl::StrCat(key.kind, " ", key.project, "/", key.id));
}

absl::StatusOr<StoredResource> QueryResourceByUid(SqliteConnection* db, std::string_view uid) {
  static const std::string kSql = absl::StrCat(base::ToAbsl(kSelectResource), "WHERE uid = ?1");
  return TheOnly(Collect(db->Query(kSql, uid), ResourceOf), absl::StrCat("the resource with uid ", base::ToAbsl(uid)));
}

absl::StatusOr<std::vector<StoredResource>> QueryResources(SqliteConnection* db, const ListQuery& query) {
  // Few texts, so that their statements can be kept: the list of states goes in as one JSON array.
  const std::string sql =
      absl::StrCat(base::ToAbsl(kSelectResource), "WHERE kind = ?1 AND (create_ns, uid) < (?2, ?3) ",
                   query.project.empty() ? "AND ?4 = '' " : "AND project = ?4 ",
                   query.states.empty() ? "AND ?5 = '[]' " : "AND state IN (SELECT value FROM json_each(?5)) ",
                   "ORDER BY create_ns DESC, uid DESC LIMIT ?6");
  const std::string states = absl::StrCat("[", absl::StrJoin(query.states, ","), "]");
  return Collect(db->Query(sql, query.kind, absl::ToUnixNanos(query.before_time), query.before_uid, query.project,
                           states, std::max(query.limit, 0)),
                 ResourceOf);
}

absl::StatusOr<std::optional<std::string>> QueryRequest(SqliteConnection* db, std::string_view kind,
                                                        std::string_view project, std::string_view request_id) {
  QZO_ASSIGN_OR_RETURN(SqlCursor request,
                       db->Query("SELECT uid FROM request WHERE kind = ?1 AND project = ?2 AND request_id = ?3", kind,
                                 project, request_id));
  QZO_ASSIGN_OR_RETURN(const bool found, request.Next());
  return found ? std::optional<std::string>(request.String(0)) : std::nullopt;
}

absl::StatusOr<std::vector<StoredEvent>> QueryEvents(SqliteConnection* db, std::string_view uid, uint64_t from,
                                                     int limit) {
  return Collect(
      db->Query("SELECT sequence, time_ns, body FROM event WHERE job = (SELECT number FROM resource WHERE uid = ?1) "
                "AND sequence >= ?2 ORDER BY sequence LIMIT ?3",
                uid, from, std::max(limit, 0)),
      [](const SqlCursor& row) {
        return StoredEvent{static_cast<uint64_t>(row.Int(0)), absl::FromUnixNanos(row.Int(1)), row.String(2)};
      });
}

absl::StatusOr<uint64_t> QueryLastEvent(SqliteConnection* db, std::string_view uid) {
  QZO_ASSIGN_OR_RETURN(
      const int64_t last,
      db->Value(0, "SELECT max(sequence) FROM event WHERE job = (SELECT number FROM resource WHERE uid = ?1)", uid));
  return static_cast<uint64_t>(last);
}

absl::StatusOr<std::vector<StoredEvaluation>> QueryEvaluations(SqliteConnection* db, std::string_view uid) {
  return Collect(
      db->Query("SELECT step, name, body FROM evaluation WHERE job = (SELECT number FROM resource WHERE uid = ?1) "
                "ORDER BY step, name",
                uid),
      [](const SqlCursor& row) {
        return StoredEvaluation{static_cast<uint32_t>(row.Int(0)), row.String(1), row.String(2)};
      });
}

absl::StatusOr<std::vector<StoredAudit>> QueryAudit(SqliteConnection* db, const AuditQuery& query) {
  // Without a project the table is walked in its own order, with one the index by project is: never sorted.
  const std::string sql = absl::StrCat(
      "SELECT sequence, time_ns, project, caller, peer, method, resource, code, reason FROM audit WHERE sequence < ?1 ",
      query.project.empty() ? "AND ?2 = '' " : "AND project = ?2 ",
      "AND (?3 = '' OR caller = ?3) AND (?4 = '' OR method = ?4 OR substr(method, -length(?4) - 1) = '.' || ?4) "
      "AND (?5 = '' OR resource = ?5 OR substr(resource, 1, length(?5) + 1) = ?5 || '/') AND (?6 = '' OR code = ?6) "
      "AND time_ns >= ?7 AND time_ns < ?8 ORDER BY sequence ",
      query.oldest_first ? "" : "DESC ", "LIMIT ?9");
  const uint64_t before = std::min(query.before, static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
  return Collect(db->Query(sql, before, query.project, query.caller, query.method, query.resource, query.code,
                           absl::ToUnixNanos(query.from), absl::ToUnixNanos(query.to), std::max(query.limit, 0)),
                 [](const SqlCursor& row) {
                   return StoredAudit{static_cast<uint64_t>(row.Int(0)),
                                      absl::FromUnixNanos(row.Int(1)),
                                      row.String(2),
                                      row.String(3),
                                      row.String(4),
                                      row.String(5),
                                      row.String(6),
                                      row.String(7),
                                      row.String(8)};
                 });
}

}  // namespace qzo::server
