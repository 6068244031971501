// The verb for the audit log.
#include <algorithm>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "client/cli/exit_code.h"
#include "client/cli/verbs.h"

namespace qzo::client {
namespace {

// "90m", "12h" and "7d" ago, or a moment as "2026-01-31T12:00:00Z".
absl::StatusOr<absl::Time> ParseWhen(const char* flag, const std::string& text, absl::Time now) {
  double days = 0;
  absl::Duration ago;
  absl::Time at;
  std::string ignored;
  if (absl::EndsWith(text, "d") && absl::SimpleAtod(text.substr(0, text.size() - 1), &days)) {
    return now - absl::Hours(24 * days);
  }
  if (absl::ParseDuration(text, &ago)) return now - ago;
  if (absl::ParseTime(absl::RFC3339_full, text, &at, &ignored)) return at;
  return absl::InvalidArgumentError(absl::StrCat(
      flag, ": '", text, "', expected how long ago, as 90m, 12h or 7d, or a moment, as 2026-01-31T12:00:00Z"));
}

void SetTime(absl::Time time, google::protobuf::Timestamp* out) {
  out->set_seconds(absl::ToUnixSeconds(time));
  out->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(out->seconds()))));
}

}  // namespace

absl::StatusOr<int> Audit(Session& session, const AuditFlags& flags) {
  v1::ListAuditRecordsRequest request;
  request.set_parent(flags.all_projects ? "projects/-" : session.parent());
  request.set_caller(flags.caller);
  request.set_method(flags.method);
  request.set_resource(flags.resource);
  request.set_code(absl::AsciiStrToUpper(flags.code));
  if (!flags.since.empty()) {
    QZO_ASSIGN_OR_RETURN(const absl::Time since, ParseWhen("--since", flags.since, session.now()));
    SetTime(since, request.mutable_start_time());
  }
  if (!flags.until.empty()) {
    QZO_ASSIGN_OR_RETURN(const absl::Time until, ParseWhen("--until", flags.until, session.now()));
    SetTime(until, request.mutable_end_time());
  }
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  QZO_ASSIGN_OR_RETURN(const std::vector<v1::AuditRecord> records, client->ListAuditRecords(request, flags.limit));
  const OutputFormat output = session.flags().output;
  if (output == OutputFormat::kJson || output == OutputFormat::kYaml) {
    v1::ListAuditRecordsResponse list;
    for (const v1::AuditRecord& record : records) *list.add_records() = record;
    session.PrintMessage(list);
  } else if (output == OutputFormat::kName) {
    for (const v1::AuditRecord& record : records) session.out() << record.sequence() << "\n";
  } else if (records.empty()) {
    session.Note("none found");
  } else {
    session.out() << AuditTable(records, output == OutputFormat::kWide, session.env().zone).Render();
  }
  return kOk;
}

}  // namespace qzo::client
