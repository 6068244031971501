// A place in a JSON document, whose errors say where it is: "tokenizer.json: model.merges[3]: found …, expected …".
// Refers to the document, which outlives it. Thread-safe.
#ifndef QZO_MODEL_TOKENIZER_JSON_AT_H_
#define QZO_MODEL_TOKENIZER_JSON_AT_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace qzo::model {

class JsonAt {
 public:
  JsonAt(const nlohmann::json& value, std::string where) : value_(&value), where_(std::move(where)) {}

  const nlohmann::json& value() const { return *value_; }
  const std::string& where() const { return where_; }
  bool is_null() const { return value_->is_null(); }
  bool is_array() const { return value_->is_array(); }
  bool is_object() const { return value_->is_object(); }
  bool is_string() const { return value_->is_string(); }
  size_t size() const { return value_->size(); }

  // null when the key is missing or this is no object.
  JsonAt operator[](const char* key) const {
    static const nlohmann::json kNull;
    const bool found = value_->is_object() && value_->contains(key);
    return {found ? value_->at(key) : kNull, absl::StrCat(where_, where_.ends_with(": ") ? "" : ".", key)};
  }
  // `index` < size() of an array.
  JsonAt operator[](size_t index) const { return {value_->at(index), absl::StrCat(where_, "[", index, "]")}; }

  template <typename... Parts>
  absl::Status Error(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(where_, where_.ends_with(": ") ? "" : ": ", parts...));
  }
  absl::Status Expected(std::string_view expected) const {
    return Error("found ", value_->type_name(), ", expected ", base::ToAbsl(expected));
  }

  absl::StatusOr<std::string> String() const {
    if (!value_->is_string()) return Expected("a string");
    return value_->get<std::string>();
  }
  absl::StatusOr<std::string> StringOr(std::string_view otherwise) const {
    if (is_null()) return std::string(otherwise);
    return String();
  }
  absl::StatusOr<bool> BoolOr(bool otherwise) const {
    if (is_null()) return otherwise;
    if (!value_->is_boolean()) return Expected("true or false");
    return value_->get<bool>();
  }
  // From 0 to `limit` - 1.
  absl::StatusOr<int32_t> Id(int32_t limit) const {
    if (!value_->is_number_integer()) return Expected("an integer");
    if (value_->is_number_unsigned() && value_->get<uint64_t>() < static_cast<uint64_t>(limit))
      return value_->get<int32_t>();
    return Error("found ", value_->dump(), ", expected 0 to ", limit - 1);
  }

 private:
  const nlohmann::json* value_;
  std::string where_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_JSON_AT_H_
