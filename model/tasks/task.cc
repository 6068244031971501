#include "model/tasks/task.h"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tasks/chat.h"
#include "model/tasks/row.h"
#include "model/tasks/template.h"

namespace qzo::model {
namespace {

using nlohmann::json;

constexpr size_t kErrorsKept = 20;
constexpr size_t kErrorsInMessage = 5;

// An example with what the report says about it.
struct Encoded {
  Example example;
  int64_t full_length = 0;  // before truncation: BOS, prompt and longest branch
  bool truncated = false;
};

size_t LongestBranch(const std::vector<std::vector<int32_t>>& branches) {
  size_t longest = 0;
  for (const auto& branch : branches) longest = std::max(longest, branch.size());
  return longest;
}

// A spec made ready for many rows: templates parsed, options tokenized, special tokens looked up.
class Encoder {
 public:
  static absl::StatusOr<Encoder> Make(const TaskSpec& spec, const Tokenizer& tokenizer);
  absl::StatusOr<Encoded> Encode(const json& row, bool inference) const;

 private:
  Encoder(const TaskSpec& spec, const Tokenizer& tokenizer) : spec_(spec), tokenizer_(tokenizer) {
    if (tokenizer.add_bos()) bos_ = tokenizer.bos();
  }

  absl::Status EncodeOptions();
  // Tokens of a template filled from `row`; `name` is what the error about a blank text calls it.
  absl::StatusOr<std::vector<int32_t>> Render(const Template& text, const json& row, std::string_view name) const;
  absl::StatusOr<int32_t> Label(const json& row) const;
  // Puts BOS first and cuts the prompt on the left so that the longest branch, of `branch_len` tokens, fits.
  absl::StatusOr<Encoded> Fit(Example example, size_t branch_len) const;
  // Prompt tokens that fit before a branch of `branch_len`, BOS not counted; < 1 when the branch is too long.
  int64_t Room(size_t branch_len) const {
    return spec_.sequence_len - static_cast<int64_t>(branch_len) - (bos_.has_value() ? 1 : 0);
  }

  const TaskSpec& spec_;
  const Tokenizer& tokenizer_;
  std::optional<int32_t> bos_;
  Template prompt_;
  Template answer_;
  std::vector<std::vector<int32_t>> options_;
  std::optional<ChatEncoder> chat_;
};

absl::StatusOr<Encoder> Encoder::Make(const TaskSpec& spec, const Tokenizer& tokenizer) {
  QZO_RETURN_IF_ERROR(spec.Validate());
  Encoder encoder(spec, tokenizer);
  if (spec.kind == TaskKind::kChat) {
    QZO_ASSIGN_OR_RETURN(encoder.chat_, ChatEncoder::Make(spec.chat_format, tokenizer));
    return encoder;
  }
  QZO_ASSIGN_OR_RETURN(encoder.prompt_, Template::Parse(spec.prompt));
  QZO_ASSIGN_OR_RETURN(encoder.answer_, Template::Parse(spec.answer));
  QZO_RETURN_IF_ERROR(encoder.EncodeOptions());
  return encoder;
}

absl::Status Encoder::EncodeOptions() {
  for (const std::string& option : spec_.options) {
    const std::string name = absl::StrCat("task.options[", options_.size(), "]");
    QZO_ASSIGN_OR_RETURN(std::vector<int32_t> ids, tokenizer_.Encode(option, /*parse_special=*/false));
    if (ids.empty()) return absl::InvalidArgumentError(absl::StrCat(name, ": no token in it"));
    if (Room(ids.size()) < 1) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", ids.size(), " tokens leave no room for a prompt in ",
                                                     "task.sequence_len = ", spec_.sequence_len));
    }
    if (std::find(options_.begin(), options_.end(), ids) != options_.end()) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": the same tokens as an option before it"));
    }
    options_.push_back(std::move(ids));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> Encoder::Render(const Template& text, const json& row,
                                                     std::string_view name) const {
  std::vector<int32_t> ids;
  std::string run;    // ordinary text not yet encoded: words form across the edges of a placeholder
  size_t filled = 0;  // bytes that fields gave
  bool blank = true;
  const auto flush = [&]() -> absl::Status {
    blank = blank && IsBlank(run);
    QZO_ASSIGN_OR_RETURN(const std::vector<int32_t> more, tokenizer_.Encode(run, /*parse_special=*/false));
    ids.insert(ids.end(), more.begin(), more.end());
    run.clear();
    return absl::OkStatus();
  };
  for (const Template::Piece& piece : text.pieces()) {
    if (piece.kind == Template::Piece::Kind::kField) {
      QZO_ASSIGN_OR_RETURN(const std::string value, FieldText(row, piece.text));
      // A template may name a field any number of times.
      if ((filled += value.size()) > kMaxRowBytes) {
        return absl::InvalidArgumentError(absl::StrCat("the ", base::ToAbsl(name), " has more than ",
                                                       base::HumanBytes(kMaxRowBytes), " of fields in it"));
      }
      run += value;
      continue;
    }
    const std::optional<int32_t> mark =
        piece.kind == Template::Piece::Kind::kMark ? tokenizer_.FindToken(piece.text) : std::nullopt;
    if (!mark.has_value()) {
      run += piece.text;
      continue;
    }
    if (!run.empty()) QZO_RETURN_IF_ERROR(flush());
    ids.push_back(*mark);
  }
  if (!run.empty()) QZO_RETURN_IF_ERROR(flush());
  if (blank || ids.empty()) return absl::InvalidArgumentError(absl::StrCat("the ", base::ToAbsl(name), " is empty"));
  return ids;
}

absl::StatusOr<int32_t> Encoder::Label(const json& row) const {
  const auto field = row.find(spec_.label_field);
  if (field == row.end()) return MissingField(row, spec_.label_field);
  const auto options = static_cast<int64_t>(options_.size());
  const std::vector<std::string>& names = spec_.label_names;
  std::string found;
  std::string hint;
  if (field->is_number_integer()) {
    // Beyond int64 the value wraps to a negative one, which is refused too.
    const auto index = field->get<int64_t>();
    if (index >= 0 && index < options) return static_cast<int32_t>(index);
    found = field->dump();
  } else if (field->is_string()) {
    const auto& text = field->get_ref<const std::string&>();
    const auto name = std::find(names.begin(), names.end(), text);
    if (name != names.end()) return static_cast<int32_t>(name - names.begin());
    found = absl::StrCat("'", Excerpt(text, 60), "'");
    hint = base::DidYouMean(Excerpt(text, 60), names);
  } else {
    found = field->type_name();
  }
  std::string expected = absl::StrCat("an integer from 0 to ", options - 1);
  if (!names.empty()) absl::StrAppend(&expected, " or one of ", Excerpt(absl::StrJoin(names, ", "), 200));
  return absl::InvalidArgumentError(
      absl::StrCat("field '", spec_.label_field, "': found ", found, ", expected ", expected, hint));
}

absl::StatusOr<Encoded> Encoder::Encode(const json& row, bool inference) const {
  Example example;
  switch (spec_.kind) {
    case TaskKind::kClassification: {
      QZO_ASSIGN_OR_RETURN(example.prompt, Render(prompt_, row, "prompt"));
      if (!inference) {
        QZO_ASSIGN_OR_RETURN(example.label, Label(row));
      }
      example.branches = options_;
      break;
    }
    case TaskKind::kCompletion: {
      QZO_ASSIGN_OR_RETURN(example.prompt, Render(prompt_, row, "prompt"));
      if (inference) break;
      QZO_ASSIGN_OR_RETURN(std::vector<int32_t> answer, Render(answer_, row, "answer"));
      if (tokenizer_.eos().has_value()) answer.push_back(*tokenizer_.eos());
      example.branches.push_back(std::move(answer));
      break;
    }
    case TaskKind::kChat: {
      QZO_ASSIGN_OR_RETURN(const std::vector<ChatMessage> messages, ReadMessages(row, inference));
      QZO_ASSIGN_OR_RETURN(example, chat_->Encode(messages, inference));
      break;
    }
  }
  // Inference of a text leaves room for at least one token of it.
  const size_t branch_len = example.branches.empty() ? 1 : LongestBranch(example.branches);
  return Fit(std::move(example), branch_len);
}

absl::StatusOr<Encoded> Encoder::Fit(Example example, size_t branch_len) const {
  const int64_t room = Room(branch_len);
  if (room < 1) {
    return absl::InvalidArgumentError(absl::StrCat("an answer of ", branch_len,
                                                   " tokens leaves no room for a prompt in ",
                                                   "task.sequence_len = ", spec_.sequence_len));
  }
  Encoded result;
  std::vector<int32_t>& prompt = example.prompt;
  const auto prompt_len = static_cast<int64_t>(prompt.size());
  result.full_length = prompt_len + spec_.sequence_len - room;
  result.truncated = prompt_len > room;
  if (result.truncated) prompt.erase(prompt.begin(), prompt.end() - room);
  if (bos_.has_value()) prompt.insert(prompt.begin(), *bos_);
  result.example = std::move(example);
  return result;
}

void AddToReport(const Encoded& encoded, DatasetReport* report) {
  const Example& example = encoded.example;
  if (example.label >= 0) ++report->label_counts[static_cast<size_t>(example.label)];
  report->tokens += static_cast<int64_t>(example.prompt.size());
  for (const auto& branch : example.branches) report->tokens += static_cast<int64_t>(branch.size());
  if (encoded.truncated) ++report->truncated_rows;
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

}  // namespace

absl::StatusOr<TaskDataset> TaskDataset::Load(const TaskSpec& spec, const Tokenizer& tokenizer, std::string_view jsonl,
                                              std::string_view name, DatasetReport* report) {
  *report = DatasetReport();
  QZO_ASSIGN_OR_RETURN(const Encoder encoder, Encoder::Make(spec, tokenizer));
  report->label_counts.resize(spec.options.size());
  TaskDataset dataset;
  dataset.rows_by_label_.resize(std::max<size_t>(1, spec.options.size()));
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  int64_t skipped = 0;  // bytes of the current line that ParseRow does not see
  if (jsonl.substr(0, kByteOrderMark.size()) == kByteOrderMark) {
    jsonl.remove_prefix(kByteOrderMark.size());
    skipped = static_cast<int64_t>(kByteOrderMark.size());
  }
  while (!jsonl.empty()) {
    const size_t end = std::min(jsonl.find('\n'), jsonl.size());
    const std::string_view line = jsonl.substr(0, end);
    jsonl.remove_prefix(std::min(end + 1, jsonl.size()));
    ++report->rows;
    int64_t column = 0;
    const absl::StatusOr<json> row = ParseRow(line, &column);
    absl::StatusOr<Encoded> encoded = row.ok() ? encoder.Encode(*row, /*inference=*/false) : row.status();
    if (column > 0) column += skipped;
    skipped = 0;
    if (!encoded.ok()) {
      ++report->errors_total;
      if (report->errors.size() < kErrorsKept) {
        report->errors.push_back({report->rows, column, std::string(encoded.status().message())});
      }
      continue;
    }
    AddToReport(*encoded, report);
    const auto list = static_cast<size_t>(std::max(0, encoded->example.label));
    dataset.rows_by_label_[list].push_back(static_cast<int32_t>(dataset.examples_.size()));
    dataset.examples_.push_back(std::move(encoded->example));
  }
  if (report->rows == 0) {
    return absl::InvalidArgumentError(absl::StrCat(base::ToAbsl(name), ": empty; expected one JSON object a line"));
  }
  if (report->errors_total > 0) return BadRows(*report, name);
  return dataset;
}

absl::StatusOr<Example> MakeInferenceExample(const TaskSpec& spec, const Tokenizer& tokenizer,
                                             std::string_view row_json) {
  QZO_ASSIGN_OR_RETURN(const Encoder encoder, Encoder::Make(spec, tokenizer));
  int64_t column = 0;
  absl::StatusOr<json> row = ParseRow(row_json, &column);
  if (!row.ok()) {
    return column == 0 ? row.status()
                       : absl::InvalidArgumentError(absl::StrCat("byte ", column, ": ", row.status().message()));
  }
  QZO_ASSIGN_OR_RETURN(Encoded encoded, encoder.Encode(*row, /*inference=*/true));
  return std::move(encoded.example);
}

}  // namespace qzo::model
