// The check that every dataset passes, whatever its task: one JSON object in UTF-8 on every line. Pure; thread-safe.
#ifndef QZO_SERVER_JSON_LINES_H_
#define QZO_SERVER_JSON_LINES_H_

#include <string_view>

#include "absl/status/status.h"
#include "model/tasks/task.h"

namespace qzo::server {

// Counts rows and bad rows as TaskDataset::Load does; nothing else of the report is set. A byte order mark is accepted.
model::DatasetReport CheckJsonLines(std::string_view bytes);

// The report's errors (not none of them) as INVALID_ARGUMENT with a violation "name:line:column" each, and one that
// says how many more there are.
absl::Status BadRows(const model::DatasetReport& report, std::string_view name);

}  // namespace qzo::server

#endif  // QZO_SERVER_JSON_LINES_H_
