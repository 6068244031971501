// What a checkpoint directory holds, without computing anything: config.json and the quantization's settings as
// ModelInfo, and where each matrix comes from.
#ifndef QZO_MODEL_FORMATS_CHECKPOINT_INFO_H_
#define QZO_MODEL_FORMATS_CHECKPOINT_INFO_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/formats/checkpoint.h"
#include "model/formats/model_info.h"

namespace qzo::model {

enum class LinearStorage : uint8_t { kPlain, kGptq, kAwq, kNf4, kAqlm };

// Quantization settings of a checkpoint; `storage` is kPlain for none.
struct CheckpointQuantization {
  LinearStorage storage = LinearStorage::kPlain;
  int bits = 0;
  int64_t group_size = -1;       // −1: a whole row
  bool zeros_minus_one = false;  // GPTQ's first format
  int codebooks = 1;             // AQLM
};

// Scales that are quantized themselves: scale i = map[code i] · scales[i / block] + offset, each operation rounded.
struct NestedScales {
  const SafetensorsTensor* scales = nullptr;  // F32
  const SafetensorsTensor* map = nullptr;     // F32 [256]
  int64_t block = 0;
  float offset = 0;
};

// A linear layer W [rows, cols]. Codes and zeros are packed in words (docs/formats.md, "Checkpoints"); all shapes and
// types are checked.
struct CheckpointLinear {
  std::string name;  // of the layer, with ".weight"
  LinearStorage storage = LinearStorage::kPlain;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t group = 0;  // columns of a scale group; cols for kPlain
  int bits = 0;
  bool zeros_minus_one = false;
  bool transposed = false;                    // kPlain: stored as [cols, rows]
  const SafetensorsTensor* weight = nullptr;  // kPlain: F32, F16 or BF16; else the codes
  const SafetensorsTensor* zeros = nullptr;
  const SafetensorsTensor* scales = nullptr;   // F16 or BF16; kNf4: F32, or U8 codes of `nested`
  const SafetensorsTensor* indices = nullptr;  // kGptq, optional: the scale group of each column
  // kNf4: F32 [16]; kAqlm: F16 or BF16 [codebooks, 2^bits, 1, 8], entry after entry.
  const SafetensorsTensor* codebook = nullptr;
  int codebooks = 1;
  std::optional<NestedScales> nested;  // kNf4
};

// The bytes that a model holds for a layer beside the mapped files: of its packed codes (docs/formats.md,
// "Checkpoints"), of a transposed copy, or of the scales beside codes of a codebook.
int64_t RepackedBytes(const CheckpointLinear& linear);
// And those of the layer's own tensors, where they are not needed then.
int64_t ReleasedBytes(const CheckpointLinear& linear);

// Whether the layer's scales are fp32 numbers that can be used where they are mapped.
bool HasScalesInPlace(const CheckpointLinear& linear);

struct CheckpointInfo {
  ModelInfo info;
  std::vector<CheckpointLinear> linears;  // in the order of info.trained; all else is plain, under the names in `info`
};

// Possible errors: INVALID_ARGUMENT naming the file and key, or the tensor: missing, of another shape or type, or what
// is not supported, with what is.
absl::StatusOr<CheckpointInfo> ReadCheckpointInfo(const Checkpoint& checkpoint);

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_CHECKPOINT_INFO_H_
