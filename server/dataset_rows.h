// The check that every dataset passes, whatever its task: a row on every line (model/tasks/row_reader.h). Pure;
// thread-safe.
#ifndef QZO_SERVER_DATASET_ROWS_H_
#define QZO_SERVER_DATASET_ROWS_H_

#include <string_view>

#include "absl/status/status.h"
#include "model/tasks/task.h"

namespace qzo::server {

// Counts rows and bad rows as TaskDataset::Load does; nothing else of the report is set.
model::DatasetReport CheckRows(std::string_view bytes);

// The report's errors (not none of them) as INVALID_ARGUMENT with a violation "name:line:column" each, and one that
// says how many more there are.
absl::Status BadRows(const model::DatasetReport& report, std::string_view name);

}  // namespace qzo::server

#endif  // QZO_SERVER_DATASET_ROWS_H_
