// The JSON files of a checkpoint directory as settings of a model.
#ifndef QZO_MODEL_FORMATS_CHECKPOINT_CONFIG_H_
#define QZO_MODEL_FORMATS_CHECKPOINT_CONFIG_H_

#include "absl/status/statusor.h"
#include "model/formats/architecture.h"
#include "model/formats/checkpoint.h"
#include "model/formats/checkpoint_info.h"
#include "model/formats/model_info.h"

namespace qzo::model {

// The settings in config.json. Possible errors: INVALID_ARGUMENT naming the key.
absl::StatusOr<const Architecture*> ReadConfig(const Checkpoint& checkpoint, ModelInfo* info);

// `quantization_config` of config.json, else quantize_config.json, else quant_config.json. Variants that are not
// supported are refused by name.
absl::StatusOr<CheckpointQuantization> ReadQuantization(const Checkpoint& checkpoint);

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_CHECKPOINT_CONFIG_H_
