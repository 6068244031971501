#include "model/tasks/task.h"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tasks/row.h"
#include "model/tasks/row_encoder.h"
#include "model/tasks/row_reader.h"

namespace qzo::model {
namespace {

using nlohmann::json;

constexpr size_t kErrorsKept = 20;
constexpr size_t kErrorsInMessage = 5;

void AddToReport(const EncodedRow& encoded, DatasetReport* report) {
  const Example& example = encoded.example;
  if (example.label >= 0) ++report->label_counts[static_cast<size_t>(example.label)];
  report->tokens += static_cast<int64_t>(example.prompt.size());
  for (const auto& branch : example.branches) report->tokens += static_cast<int64_t>(branch.size());
  report->branches += static_cast<int64_t>(example.branches.size());
  for (const auto& branch : example.branches) {
    report->scored += example.scored.empty() ? static_cast<int64_t>(branch.size())
                                             : std::count(example.scored.begin(), example.scored.end(), 1);
  }
  if (encoded.lost_tokens > 0) ++report->truncated_rows;
  if (encoded.lost_turns) ++report->shortened_chats;
  report->lost_tokens += encoded.lost_tokens;
  report->longest = std::max(report->longest, static_cast<int32_t>(encoded.full_length));
  const auto bucket = static_cast<size_t>(std::bit_width(static_cast<uint64_t>(encoded.full_length)) - 1);
  ++report->length_histogram[std::min(bucket, report->length_histogram.size() - 1)];
}

absl::Status BadRows(const DatasetReport& report, std::string_view name) {
  std::string message =
      absl::StrCat(base::ToAbsl(name), ": ", report.errors_total, " of ", report.rows, " rows are bad");
  const size_t shown = std::min(kErrorsInMessage, report.errors.size());
  for (size_t i = 0; i < shown; ++i) {
    const RowError& error = report.errors[i];
    absl::StrAppend(&message, "\n", base::ToAbsl(name), ":", error.line);
    if (error.column > 0) absl::StrAppend(&message, ":", error.column);
    absl::StrAppend(&message, ": ", error.reason);
  }
  if (report.errors_total > static_cast<int64_t>(shown)) {
    absl::StrAppend(&message, "\n… and ", report.errors_total - static_cast<int64_t>(shown), " more");
  }
  return absl::InvalidArgumentError(message);
}

// Hands each row of a file to use(row), and gathers the errors.
template <typename Use>
absl::Status ForEachRow(std::string_view bytes, std::string_view name, DatasetReport* report, const Use& use) {
  RowReader reader(bytes);
  while (reader.Next()) {
    ++report->rows;
    int64_t column = 0;
    const absl::StatusOr<json> row = reader.Parse(&column);
    const absl::Status used = row.ok() ? use(*row) : row.status();
    if (used.ok()) continue;
    ++report->errors_total;
    if (report->errors.size() < kErrorsKept) {
      report->errors.push_back({reader.line(), column, std::string(used.message())});
    }
  }
  if (report->rows == 0) {
    return absl::InvalidArgumentError(absl::StrCat(base::ToAbsl(name), ": empty; expected one JSON object a line"));
  }
  return report->errors_total > 0 ? BadRows(*report, name) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<TaskDataset> TaskDataset::Load(const TaskSpec& spec, const Tokenizer& tokenizer, std::string_view bytes,
                                              std::string_view name, DatasetReport* report) {
  *report = DatasetReport();
  QZO_ASSIGN_OR_RETURN(const RowEncoder encoder, RowEncoder::Make(spec, tokenizer));
  report->label_counts.resize(spec.options.size());
  TaskDataset dataset;
  dataset.rows_by_label_.resize(std::max<size_t>(1, spec.options.size()));
  QZO_RETURN_IF_ERROR(ForEachRow(bytes, name, report, [&](const json& row) -> absl::Status {
    QZO_ASSIGN_OR_RETURN(EncodedRow encoded, encoder.Encode(row, /*inference=*/false));
    AddToReport(encoded, report);
    const auto list = static_cast<size_t>(std::max(0, encoded.example.label));
    dataset.rows_by_label_[list].push_back(static_cast<int32_t>(dataset.examples_.size()));
    dataset.examples_.push_back(std::move(encoded.example));
    return absl::OkStatus();
  }));
  return dataset;
}

absl::StatusOr<Example> MakeInferenceExample(const TaskSpec& spec, const Tokenizer& tokenizer,
                                             std::string_view row_json) {
  QZO_ASSIGN_OR_RETURN(const RowEncoder encoder, RowEncoder::Make(spec, tokenizer));
  int64_t column = 0;
  absl::StatusOr<json> row = ParseRow(row_json, &column);
  if (!row.ok()) {
    return column == 0 ? row.status()
                       : absl::InvalidArgumentError(absl::StrCat("byte ", column, ": ", row.status().message()));
  }
  QZO_ASSIGN_OR_RETURN(EncodedRow encoded, encoder.Encode(*row, /*inference=*/true));
  return std::move(encoded.example);
}

absl::StatusOr<std::vector<Question>> LoadQuestions(const TaskSpec& spec, const Tokenizer& tokenizer,
                                                    std::string_view bytes, std::string_view name) {
  if (spec.kind != TaskKind::kCompletion) {
    return absl::InvalidArgumentError("task.kind: only answers of completion tasks can be compared as texts");
  }
  QZO_ASSIGN_OR_RETURN(const RowEncoder encoder, RowEncoder::Make(spec, tokenizer));
  DatasetReport report;
  std::vector<Question> questions;
  QZO_RETURN_IF_ERROR(ForEachRow(bytes, name, &report, [&](const json& row) -> absl::Status {
    QZO_ASSIGN_OR_RETURN(EncodedRow encoded, encoder.Encode(row, /*inference=*/true));
    Question question{.prompt = std::move(encoded.example.prompt), .references = {}};
    QZO_ASSIGN_OR_RETURN(question.references, encoder.References(row));
    questions.push_back(std::move(question));
    return absl::OkStatus();
  }));
  return questions;
}

}  // namespace qzo::model
