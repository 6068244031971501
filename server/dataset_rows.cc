#include "server/dataset_rows.h"

#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "model/tasks/row_reader.h"
#include "proto/grpc_status.h"

namespace qzo::server {
namespace {

constexpr size_t kShownErrors = 20;

}  // namespace

model::DatasetReport CheckRows(std::string_view bytes) {
  model::DatasetReport report;
  model::RowReader reader(bytes);
  while (reader.Next()) {
    ++report.rows;
    int64_t column = 0;
    const absl::StatusOr<nlohmann::json> row = reader.Parse(&column);
    if (row.ok()) continue;
    ++report.errors_total;
    if (report.errors.size() < kShownErrors) {
      report.errors.push_back({reader.line(), column, std::string(row.status().message())});
    }
  }
  return report;
}

absl::Status BadRows(const model::DatasetReport& report, std::string_view name) {
  google::rpc::BadRequest details;
  for (const model::RowError& error : report.errors) {
    auto* violation = details.add_field_violations();
    violation->set_field(absl::StrCat(base::ToAbsl(name), ":", error.line, ":", error.column));
    violation->set_description(error.reason);
  }
  const int64_t more = report.errors_total - static_cast<int64_t>(report.errors.size());
  if (more > 0) {
    auto* violation = details.add_field_violations();
    violation->set_field(std::string(name));
    violation->set_description(absl::StrCat(more, " more bad rows of ", report.rows));
  }
  std::string message = absl::StrCat(base::ToAbsl(name), ": ", report.errors_total, " bad rows of ", report.rows);
  for (const auto& violation : details.field_violations()) {
    absl::StrAppend(&message, "\n", violation.field(), ": ", violation.description());
  }
  return rpc::WithReason(rpc::WithBadRequest(absl::InvalidArgumentError(message), details), "BAD_ROWS");
}

}  // namespace qzo::server
