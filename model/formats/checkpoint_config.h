// The JSON files of a checkpoint directory as settings of a model.
#ifndef QZO_MODEL_FORMATS_CHECKPOINT_CONFIG_H_
#define QZO_MODEL_FORMATS_CHECKPOINT_CONFIG_H_

#include "absl/status/statusor.h"
#include "model/formats/checkpoint.h"
#include "model/formats/checkpoint_info.h"
#include "model/formats/model_info.h"

namespace qzo::model {

// The architecture's dimensions of config.json, rope_divisors and tied_head. Possible errors: INVALID_ARGUMENT naming
// the key.
absl::StatusOr<ModelInfo> ReadConfig(const Checkpoint& checkpoint);

// `quantization_config` of config.json, else quantize_config.json, else quant_config.json. Variants that are not
// supported are refused by name.
absl::StatusOr<CheckpointQuantization> ReadQuantization(const Checkpoint& checkpoint);

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_CHECKPOINT_CONFIG_H_
