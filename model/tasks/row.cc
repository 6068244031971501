#include "model/tasks/row.h"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "base/text.h"

namespace qzo::model {
namespace {

using nlohmann::json;

// nlohmann's text without its bookkeeping: "[json.exception.parse_error.101] parse error at line 1, column 9: syntax
// error …".
std::string Reason(const json::exception& error) {
  std::string text = error.what();
  if (const size_t end = text.find("] "); end != std::string::npos) text.erase(0, end + 2);
  if (text.starts_with("parse error at")) {
    if (const size_t end = text.find(": "); end != std::string::npos) text.erase(0, end + 2);
  }
  // It quotes what it read, which may end within a character.
  for (size_t at; (at = base::FindInvalidUtf8(text)) != std::string_view::npos;) text[at] = '?';
  return absl::StrCat("not valid JSON: ", Excerpt(text, 200));
}

}  // namespace

absl::Status CheckLine(std::string_view line, std::string_view expected, int64_t* column) {
  *column = 0;
  if (IsBlank(line)) {
    return absl::InvalidArgumentError(absl::StrCat("blank line; expected ", base::ToAbsl(expected), " a line"));
  }
  if (line.size() > kMaxRowBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("row of ", base::HumanBytes(line.size()), "; expected at most ", base::HumanBytes(kMaxRowBytes)));
  }
  if (const size_t at = base::FindInvalidUtf8(line); at != std::string_view::npos) {
    *column = static_cast<int64_t>(at) + 1;
    return absl::InvalidArgumentError(absl::StrCat("byte 0x",
                                                   absl::Hex(static_cast<unsigned char>(line[at]), absl::kZeroPad2),
                                                   " is not valid UTF-8; save the file as UTF-8"));
  }
  return absl::OkStatus();
}

absl::StatusOr<json> ParseRow(std::string_view line, int64_t* column) {
  QZO_RETURN_IF_ERROR(CheckLine(line, "one JSON object", column));
  // Which of two equal keys counts is each parser's own choice, so a row that has them is ambiguous.
  std::vector<std::set<std::string>> open_objects;
  std::string twice;
  const auto watch_keys = [&](int, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) open_objects.emplace_back();
    if (event == json::parse_event_t::object_end) open_objects.pop_back();
    if (event == json::parse_event_t::key && twice.empty() &&
        !open_objects.back().insert(parsed.get_ref<const std::string&>()).second) {
      twice = absl::StrCat("key '", Excerpt(parsed.get_ref<const std::string&>(), 60), "' stands twice in one object");
    }
    return true;
  };
  json row;
  try {
    row = json::parse(line.begin(), line.end(), watch_keys);
  } catch (const json::parse_error& error) {
    *column = static_cast<int64_t>(error.byte);
    return absl::InvalidArgumentError(Reason(error));
  } catch (const json::exception& error) {  // a number that no double can hold
    return absl::InvalidArgumentError(Reason(error));
  }
  if (!row.is_object())
    return absl::InvalidArgumentError(absl::StrCat("found ", row.type_name(), ", expected a JSON object"));
  if (!twice.empty()) return absl::InvalidArgumentError(twice);
  return row;
}

const json* FindField(const json& row, std::string_view name) {
  if (const auto field = row.find(std::string(name)); field != row.end()) return &*field;
  const json* at = &row;
  const std::vector<std::string> steps = absl::StrSplit(base::ToAbsl(name), '.');
  for (const std::string& step : steps) {
    size_t index = 0;
    if (at->is_object() && at->contains(step)) {
      at = &(*at)[step];
    } else if (at->is_array() && absl::SimpleAtoi(step, &index) && index < at->size()) {
      at = &(*at)[index];
    } else {
      return nullptr;
    }
  }
  return at;
}

absl::StatusOr<std::string> FieldText(const json& row, const std::string& name) {
  const json* field = FindField(row, name);
  if (field == nullptr) return MissingField(row, name);
  if (field->is_string()) return field->get<std::string>();
  if (field->is_number()) return field->dump();
  return absl::InvalidArgumentError(
      absl::StrCat("field '", name, "': found ", field->type_name(), ", expected a string or a number"));
}

absl::StatusOr<std::vector<std::string>> FieldTexts(const json& row, const std::string& name) {
  const json* field = FindField(row, name);
  if (field == nullptr) return MissingField(row, name);
  std::vector<std::string> texts;
  if (!field->is_array()) {
    QZO_ASSIGN_OR_RETURN(texts.emplace_back(), FieldText(row, name));
    return texts;
  }
  for (const json& text : *field) {
    if (!text.is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat("field '", name, "': found ", text.type_name(), " in it, expected strings"));
    }
    texts.push_back(text.get<std::string>());
  }
  if (texts.empty()) return absl::InvalidArgumentError(absl::StrCat("field '", name, "' is empty"));
  return texts;
}

absl::Status MissingField(const json& row, std::string_view name) {
  std::vector<std::string> keys;
  for (const auto& item : row.items()) {
    if (item.key().size() <= 100) keys.push_back(item.key());
  }
  return absl::InvalidArgumentError(
      absl::StrCat("row has no field '", base::ToAbsl(name), "'", base::DidYouMean(name, keys)));
}

std::string Excerpt(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return std::string(text);
  size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return absl::StrCat(base::ToAbsl(text.substr(0, end)), "…");
}

bool IsBlank(std::string_view text) { return text.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos; }

}  // namespace qzo::model
