// One row of a dataset as a JSON object, and typed access to its fields with errors that say what was found. Pure;
// thread-safe. All errors are INVALID_ARGUMENT, and short: whatever they quote of the row is cut.
#ifndef QZO_MODEL_TASKS_ROW_H_
#define QZO_MODEL_TASKS_ROW_H_

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace qzo::model {

inline constexpr size_t kMaxRowBytes = size_t{1} << 20;

// What every line of a dataset must be: not blank (the message says what is `expected`), not too long, valid UTF-8. On
// error `*column` as below.
absl::Status CheckLine(std::string_view line, std::string_view expected, int64_t* column);

// Refuses blank and over-long lines, invalid UTF-8, anything but one JSON object, and an object (at any depth) that
// names a key twice. On error `*column` (never null) is the byte of the defect, from 1, or 0 when it has no place.
absl::StatusOr<nlohmann::json> ParseRow(std::string_view line, int64_t* column);

// The field `name`, or where there is none of that name a path of names and indices: "answers.text.0". nullptr: none.
const nlohmann::json* FindField(const nlohmann::json& row, std::string_view name);

// The text of a field that must hold a string or a number; numbers are written as JSON writes them.
absl::StatusOr<std::string> FieldText(const nlohmann::json& row, const std::string& name);
// The texts of a field that holds one or, in an array, at least one.
absl::StatusOr<std::vector<std::string>> FieldTexts(const nlohmann::json& row, const std::string& name);

// "row has no field 'txt' (did you mean 'text'?)"
absl::Status MissingField(const nlohmann::json& row, std::string_view name);

// `text` cut to about `max_bytes`, with "…" where something is missing; never within a character.
std::string Excerpt(std::string_view text, size_t max_bytes);

// Nothing but ASCII blanks.
bool IsBlank(std::string_view text);

}  // namespace qzo::model

#endif  // QZO_MODEL_TASKS_ROW_H_
