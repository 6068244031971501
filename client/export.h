// A model and its trained multipliers and deltas as an ordinary file or directory of the same kind, for any program
// that reads those: GGUF files, and checkpoint directories (plain, GPTQ, AWQ, NF4, AQLM).
#ifndef QZO_CLIENT_EXPORT_H_
#define QZO_CLIENT_EXPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/fs.h"
#include "client/stored_numbers.h"
#include "method/partition.h"
#include "model/formats/checkpoint.h"
#include "model/formats/checkpoint_info.h"
#include "model/formats/gguf.h"

namespace qzo::client {

struct ExportReport {
  int64_t tensors = 0;    // that were multiplied or added to
  int64_t converted = 0;  // of these, that are stored as another type now
  Rounding rounding;
};

// Trained tensors whose type cannot hold their multipliers, "blk.0.ffn_down.weight (Q6_K)": one scale in half precision
// for several multipliers (K-quants, IQ, by group), or a scale that is a power of two (MXFP4).
std::vector<std::string> TensorsThatCannotHold(const model::GgufFile& file, const method::Partition& partition);
// The multipliers nearest to `multipliers` that the file's types can hold: means over blocks, powers of two.
std::vector<float> NearestHeld(const model::GgufFile& file, const method::Partition& partition,
                               absl::Span<const float> multipliers);

// Writes `file` to `destination` with every trained tensor multiplied: the half-precision scale of each block, and its
// minimum where it has one, or every plain weight; deltas are added to plain values. Results are rounded to nearest
// even. Tensors that cannot hold their multipliers are stored as `fallback` (F16, Q8_0 or Q4_1). `multipliers` is the
// flat array of `partition`. Possible errors: INVALID_ARGUMENT (a tensor is missing, or cannot hold its multipliers,
// and there is no fallback), those of WriteGgufWithReplacedTensors.
absl::StatusOr<ExportReport> ExportGguf(base::FileSystem* fs, const model::GgufFile& file,
                                        const method::Partition& partition, absl::Span<const float> multipliers,
                                        std::optional<model::GgmlType> fallback, const std::string& destination);

// Writes the checkpoint to the directory `destination`, with the scales of every quantized layer and the weights of
// plain ones multiplied, deltas added, rounded in their stored type, codes and zeros as they are; besides, the
// tokenizer's and licence's files that lie beside the model. config.json comes last: a directory without it is
// unfinished. Possible errors: ALREADY_EXISTS when there is something in it, those of the file system.
absl::StatusOr<ExportReport> ExportCheckpoint(base::FileSystem* fs, const model::Checkpoint& checkpoint,
                                              const method::Partition& partition, absl::Span<const float> multipliers,
                                              const std::string& destination);

// Writes multipliers and deltas alone, as a safetensors file: F32, [rows] or [rows, groups], and deltas [rows, cols],
// under each tensor's name, with `metadata`. Possible errors: those of the file system.
absl::Status ExportMultipliers(base::FileSystem* fs, const method::Partition& partition,
                               absl::Span<const float> multipliers,
                               const std::vector<std::pair<std::string, std::string>>& metadata,
                               const std::string& destination);

}  // namespace qzo::client

#endif  // QZO_CLIENT_EXPORT_H_
