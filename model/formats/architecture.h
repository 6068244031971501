// The architectures that the graph computes: how GGUF files and checkpoints spell their settings and tensors. One file
// each in architectures/.
#ifndef QZO_MODEL_FORMATS_ARCHITECTURE_H_
#define QZO_MODEL_FORMATS_ARCHITECTURE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "model/formats/config_object.h"
#include "model/formats/gguf_keys.h"
#include "model/formats/model_info.h"

namespace qzo::model {

struct PartNames {
  Part part;
  const char* gguf;        // after "blk.N.", before ".weight"
  const char* checkpoint;  // after the block's name, before ".weight"
  bool bias = false;       // whether there is a ".bias", too
};

struct Architecture {
  const char* gguf;              // general.architecture; nullptr where GGUF files call it something else
  const char* checkpoint;        // model_type
  std::vector<PartNames> parts;  // in the order of Part
  // Settings, but for `architecture`, `vocabulary` (GGUF), and what comes with the tensors. Possible errors:
  // INVALID_ARGUMENT naming the key.
  absl::Status (*read_gguf)(const GgufKeys& keys, ModelInfo* info);
  absl::Status (*read_config)(const ConfigObject& config, ModelInfo* info);

  // Names in checkpoints. All but the head stand after one of `prefixes`: the first with which the embedding is there.
  std::vector<const char*> prefixes = {"model."};
  const char* embedding = "embed_tokens";
  const char* positions = nullptr;  // of GGUF's position_embd, too; nullptr: rotary embedding
  const char* output_norm = "norm";
  const char* blocks = "layers.";
  const char* becomes = nullptr;                                // what GGUF files call it, then
  std::vector<const char*> ignored = {".rotary_emb.inv_freq"};  // ends of names of tensors without influence
  bool transposed = false;                                      // plain linear layers are stored as [inputs, outputs]
};

// nullptr where there is none.
const Architecture* FindGgufArchitecture(std::string_view name);
const Architecture* FindCheckpointArchitecture(std::string_view model_type);
// For errors: each in the given quotes, with commas.
std::string SupportedGgufArchitectures();
std::string SupportedCheckpointArchitectures();

// [rows, cols] of a matrix; a vector has one row.
struct PartShape {
  bool matrix = false;
  int64_t rows = 1;
  int64_t cols = 0;
};
PartShape ShapeOf(const ModelInfo& info, Part part);

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_ARCHITECTURE_H_
