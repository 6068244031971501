// The settings of a checkpoint as the keys and values that GGUF files have them in. Pure and thread-safe.
#ifndef QZO_CLIENT_CONVERT_SETTINGS_H_
#define QZO_CLIENT_CONVERT_SETTINGS_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/formats/gguf_writer.h"
#include "model/formats/model_info.h"

namespace qzo::client {

struct SettingsInGguf {
  model::GgufValues values;
  std::vector<std::pair<std::string, std::vector<float>>> tensors;  // rotary divisors
  // GGUF's Llama turns neighbours: the rows of queries and keys are permuted so that pairs are.
  bool pairs_adjacent = false;
};

// Of `info` as ReadCheckpointInfo gives it. What is written is read again and must come to the same settings.
// INVALID_ARGUMENT names those that GGUF has no key for.
absl::StatusOr<SettingsInGguf> SettingsToGguf(const model::ModelInfo& info);

}  // namespace qzo::client

#endif  // QZO_CLIENT_CONVERT_SETTINGS_H_
