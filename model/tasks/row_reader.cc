#include "model/tasks/row_reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tasks/row.h"

namespace qzo::model {
namespace {

using nlohmann::json;

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// A whole number only where its digits are the text again, so that a template shows what the file has.
json ValueOf(const std::string& text) {
  int64_t number = 0;
  if (absl::SimpleAtoi(text, &number) && std::to_string(number) == text) return number;
  return text;
}

std::string_view WithoutReturn(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace

RowReader::RowReader(std::string_view bytes) : rest_(bytes) {
  if (rest_.starts_with(kByteOrderMark)) {
    skipped_ = static_cast<int64_t>(kByteOrderMark.size());
    rest_.remove_prefix(kByteOrderMark.size());
  }
  const std::string_view first = rest_.substr(0, rest_.find('\n'));
  const size_t begin = first.find_first_not_of(" \t\r");
  const bool object = begin == std::string_view::npos || first[begin] == '{';
  if (object || first.find('\t') == std::string_view::npos) return;
  heading_ = TakeLine();
  columns_ = absl::StrSplit(base::ToAbsl(WithoutReturn(heading_)), '\t');
  for (size_t i = 0; i < columns_.size(); ++i) {
    const bool twice = std::find(columns_.begin(), columns_.begin() + static_cast<int64_t>(i), columns_[i]) !=
                       columns_.begin() + static_cast<int64_t>(i);
    if (base::FindInvalidUtf8(columns_[i]) != std::string_view::npos) {
      bad_columns_ = absl::StrCat("the name of column ", i + 1, " is not valid UTF-8; save the file as UTF-8");
    } else if (columns_[i].empty() || twice) {
      bad_columns_ = absl::StrCat("the name of column ", i + 1, " on the first line ",
                                  columns_[i].empty() ? "is empty" : "stands there twice");
    }
  }
}

std::string_view RowReader::TakeLine() {
  const size_t end = std::min(rest_.find('\n'), rest_.size());
  const std::string_view line = rest_.substr(0, end);
  rest_.remove_prefix(std::min(end + 1, rest_.size()));
  ++line_;
  return line;
}

bool RowReader::Next() {
  if (rest_.empty()) return false;
  row_ = TakeLine();
  return true;
}

absl::StatusOr<json> RowReader::Parse(int64_t* column) const {
  if (!columns_.empty()) return ParseValues(column);
  absl::StatusOr<json> row = ParseRow(row_, column);
  if (*column > 0 && line_ == 1) *column += skipped_;
  return row;
}

absl::StatusOr<json> RowReader::ParseValues(int64_t* column) const {
  *column = 0;
  const std::string_view line = WithoutReturn(row_);
  if (!bad_columns_.empty()) return absl::InvalidArgumentError(bad_columns_);
  QZO_RETURN_IF_ERROR(CheckLine(line, "tab-separated values", column));
  const std::vector<std::string> values = absl::StrSplit(base::ToAbsl(line), '\t');
  if (values.size() != columns_.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("found ", values.size(), " values, expected ", columns_.size(), ", as the first line names"));
  }
  json row = json::object();
  for (size_t i = 0; i < values.size(); ++i) row[columns_[i]] = ValueOf(values[i]);
  return row;
}

}  // namespace qzo::model
