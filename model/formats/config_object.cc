#include "model/formats/config_object.h"

#include <cmath>

#include "model/formats/json_text.h"

namespace qzo::model {
namespace {

// NaN where the value is no positive number of fp32.
double PositiveOf(const nlohmann::json& value) {
  const float narrowed = value.is_number() ? value.get<float>() : 0.0f;
  return std::isfinite(narrowed) && narrowed > 0 ? value.get<double>() : std::nan("");
}

}  // namespace

absl::StatusOr<ConfigObject> ConfigObject::Read(const Checkpoint& checkpoint, const char* name) {
  std::string where = absl::StrCat(checkpoint.path(), "/", name);
  Json json = ParseJson(checkpoint.File(name));
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(where, ": missing, or not a JSON object"));
  return ConfigObject(std::move(where), std::move(json));
}

absl::StatusOr<int32_t> ConfigObject::Dimension(const char* key, std::optional<int32_t> otherwise, int32_t max) const {
  const Json value = Get(key);
  if (value.is_null() && otherwise.has_value()) return *otherwise;
  if (!value.is_number_unsigned() || value.get<uint64_t>() < 1 || value.get<uint64_t>() > static_cast<uint64_t>(max)) {
    return Error("'", key, "' is ", Shown(key), ", expected 1 to ", max);
  }
  return value.get<int32_t>();
}

absl::StatusOr<double> ConfigObject::Positive(const char* key, std::optional<double> otherwise) const {
  const Json value = Get(key);
  if (value.is_null() && otherwise.has_value()) return *otherwise;
  const double positive = PositiveOf(value);
  if (std::isnan(positive)) return Error("'", key, "' is ", Shown(key), ", expected a positive number");
  return positive;
}

absl::StatusOr<bool> ConfigObject::Flag(const char* key, bool otherwise) const {
  const Json value = Get(key);
  if (value.is_null()) return otherwise;
  if (!value.is_boolean()) return Error("'", key, "' is ", Shown(key), ", expected true or false");
  return value.get<bool>();
}

absl::StatusOr<std::vector<float>> ConfigObject::Positives(const char* key, size_t count) const {
  const Json list = Get(key);
  if (!list.is_array() || list.size() != count) {
    return Error("'", key, "' is ", Shown(key), ", expected a list of ", count, " numbers");
  }
  std::vector<float> values;
  for (const Json& value : list) {
    const double positive = PositiveOf(value);
    if (std::isnan(positive)) return Error("'", key, "' is ", Shown(key), ", expected positive numbers");
    values.push_back(static_cast<float>(positive));
  }
  return values;
}

absl::Status ConfigObject::Only(const char* key, const Json& expected) const {
  const Json value = Get(key);
  if (value.is_null() || value == expected) return absl::OkStatus();
  return Error("'", key, "' is ", Shown(key), ", supported: ", expected.dump());
}

absl::StatusOr<ConfigObject> ConfigObject::Nested(const char* key) const {
  Json value = Get(key);
  if (!value.is_object()) return Error("'", key, "' is ", Shown(key), ", expected an object");
  return ConfigObject(absl::StrCat(where_, ": ", key), std::move(value));
}

ConfigObject ConfigObject::Without(const char* key) const {
  ConfigObject copy = *this;
  copy.json_.erase(key);
  return copy;
}

}  // namespace qzo::model
