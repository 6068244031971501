// One function per architecture, and what several have in common. Settings of other values than those that are read
// here are refused by name.
#ifndef QZO_MODEL_FORMATS_ARCHITECTURES_ALL_H_
#define QZO_MODEL_FORMATS_ARCHITECTURES_ALL_H_

#include "model/formats/architecture.h"

namespace qzo::model {

Architecture Llama();
Architecture Mistral();
Architecture Qwen2();
Architecture Qwen3();
Architecture Gemma2();
Architecture Gemma3();
Architecture Phi3();
Architecture Opt();
Architecture Gpt2();

// Sizes, norm epsilon and rotary settings as most GGUF files have them.
absl::Status ReadCommonKeys(const GgufKeys& keys, ModelInfo* info);
// Sizes alone: without rotary embedding, and with the norm epsilon under `epsilon`.
absl::Status ReadSizeKeys(const GgufKeys& keys, const char* epsilon, ModelInfo* info);

struct ConfigDefaults {
  int32_t context_length = 2048;
  int32_t head_dim = 0;  // 0: hidden_size / heads
  bool tied_head = false;
  double rope_base = 10000;
};
// Sizes, norm epsilon and rotary settings as most config.json files have them.
absl::Status ReadCommonConfig(const ConfigObject& config, const ConfigDefaults& defaults, ModelInfo* info);
// `sliding_window` for the layers that `layer_types` calls so, without that key for those of `otherwise`.
absl::Status ReadWindow(const ConfigObject& config, const std::vector<bool>& otherwise, ModelInfo* info);
// One rotary embedding: `rope_theta` and the scaling of `config`, an object as `rope_scaling` or `rope_parameters`.
absl::Status ReadRopeObject(const ConfigObject& config, double base, const ModelInfo& info, Rope* rope);

// The parts of a block with separate matrices under the names that most checkpoints use.
std::vector<PartNames> CommonParts(bool qkv_bias, bool qk_norm);

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_ARCHITECTURES_ALL_H_
