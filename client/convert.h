// A checkpoint directory as a GGUF file, for this service, whose GGUF files are multiplied where they are mapped, and
// for any program that reads those.
#ifndef QZO_CLIENT_CONVERT_H_
#define QZO_CLIENT_CONVERT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/fs.h"
#include "method/partition.h"
#include "model/formats/checkpoint.h"
#include "model/formats/gguf.h"

namespace qzo::client {

struct ConvertReport {
  int64_t tensors = 0;
  int64_t rows = 0;              // of the linear layers
  int64_t kept_rows = 0;         // of these, that have the codes they had
  int64_t differing_tokens = 0;  // see TokenizerInGguf
};

// Multipliers and deltas to fold in: the flat array of `partition`, both of which outlive the call.
struct Fold {
  const method::Partition* partition = nullptr;  // nullptr: nothing is folded in
  absl::Span<const float> multipliers;
};

// Writes the checkpoint to `destination` with its linear layers as `type` (F16, Q8_0, Q4_0 or Q4_1), embedding and head
// as F16 for F16 and else as Q8_0, all else as F32; a matrix without whole blocks of 32 columns as F16. Codes of GPTQ
// and AWQ layers are kept where the type can have them, which Q8_0 can, Q4_0 where zeros are 8, and Q4_1; unless their
// columns are in an order of their own; their scales are then multiplied and rounded to half precision, all other
// weights multiplied, and deltas added, before they are rounded. A row is in memory at a time, and a layer where it has
// to be repacked. Possible errors: those of ReadCheckpointInfo, SettingsToGguf and TokenizerToGguf; INVALID_ARGUMENT
// for values that the type cannot have, and for a partition of other tensors; those of the file system.
absl::StatusOr<ConvertReport> ConvertToGguf(base::FileSystem* fs, const model::Checkpoint& checkpoint,
                                            model::GgmlType type, const Fold& fold, const std::string& destination);

}  // namespace qzo::client

#endif  // QZO_CLIENT_CONVERT_H_
