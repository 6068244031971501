#include "model/formats/gguf_keys.h"

#include <cmath>

#include "base/status_macros.h"

namespace qzo::model {

absl::StatusOr<int32_t> GgufKeys::Dimension(std::string_view name, int32_t max) const {
  const std::string key = Key(name);
  if (!file_.HasKey(key)) return Error("key '", key, "' is missing");
  QZO_ASSIGN_OR_RETURN(const uint64_t value, file_.GetUint(key));
  if (value < 1 || value > static_cast<uint64_t>(max)) {
    return Error("key '", key, "' is ", value, ", expected 1 to ", max);
  }
  return static_cast<int32_t>(value);
}

absl::StatusOr<int32_t> GgufKeys::Dimension(std::string_view name, int32_t max, int32_t otherwise) const {
  if (!Has(name)) return otherwise;
  return Dimension(name, max);
}

// GetFloat takes no integers.
absl::StatusOr<double> GgufKeys::Number(std::string_view name) const {
  const absl::StatusOr<uint64_t> whole = file_.GetUint(Key(name));
  if (whole.ok()) return static_cast<double>(*whole);
  return file_.GetFloat(Key(name));
}

absl::StatusOr<float> GgufKeys::Positive(std::string_view name) const {
  const std::string key = Key(name);
  if (!file_.HasKey(key)) return Error("key '", key, "' is missing");
  QZO_ASSIGN_OR_RETURN(const double value, file_.GetFloat(key));
  const float result = static_cast<float>(value);
  if (!std::isfinite(result) || result <= 0) return Error("key '", key, "' is ", value, ", expected a positive number");
  return result;
}

absl::StatusOr<float> GgufKeys::Positive(std::string_view name, float otherwise) const {
  if (!Has(name)) return otherwise;
  return Positive(name);
}

absl::StatusOr<std::string> GgufKeys::Text(std::string_view name, std::string_view otherwise) const {
  if (!Has(name)) return std::string(otherwise);
  QZO_ASSIGN_OR_RETURN(const std::string_view text, file_.GetString(Key(name)));
  return std::string(text);
}

absl::Status GgufKeys::Only(std::string_view name, double expected) const {
  if (!Has(name)) return absl::OkStatus();
  QZO_ASSIGN_OR_RETURN(const double value, Number(name));
  if (value == expected) return absl::OkStatus();
  return Error("key '", Key(name), "' is ", value, ", supported: ", expected);
}

}  // namespace qzo::model
