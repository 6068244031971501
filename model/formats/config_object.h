// A JSON object of a checkpoint's file, with errors that name the file and the key.
#ifndef QZO_MODEL_FORMATS_CONFIG_OBJECT_H_
#define QZO_MODEL_FORMATS_CONFIG_OBJECT_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "model/formats/checkpoint.h"

namespace qzo::model {

// Of anything but a context: products of two stay far inside 63 bits.
inline constexpr int32_t kMaxDimension = 1 << 24;
// Rotary tables have a row per position: 1 GiB at this length and 128 rotated dimensions.
inline constexpr int32_t kMaxContextLength = 1 << 20;

class ConfigObject {
 public:
  using Json = nlohmann::json;

  // File `name` of the checkpoint.
  static absl::StatusOr<ConfigObject> Read(const Checkpoint& checkpoint, const char* name);
  ConfigObject(std::string where, Json json) : where_(std::move(where)), json_(std::move(json)) {}

  template <typename... Parts>
  absl::Status Error(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(where_, ": ", parts...));
  }
  // null where the key is missing.
  Json Get(const char* key) const { return json_.value(key, Json()); }
  // What was found, for people.
  std::string Shown(const char* key) const {
    return Get(key).dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 60);
  }

  absl::StatusOr<int32_t> Dimension(const char* key, std::optional<int32_t> otherwise = std::nullopt,
                                    int32_t max = kMaxDimension) const;
  absl::StatusOr<double> Positive(const char* key, std::optional<double> otherwise = std::nullopt) const;
  absl::StatusOr<bool> Flag(const char* key, bool otherwise) const;
  // `count` positive numbers.
  absl::StatusOr<std::vector<float>> Positives(const char* key, size_t count) const;
  // Refuses any value but absence, null and `expected`: the model would be another one.
  absl::Status Only(const char* key, const Json& expected) const;
  absl::StatusOr<ConfigObject> Nested(const char* key) const;
  ConfigObject Without(const char* key) const;

 private:
  std::string where_;
  Json json_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_CONFIG_OBJECT_H_
