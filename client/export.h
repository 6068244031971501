// A model and its trained multipliers as one ordinary GGUF file of the same types, for any program that reads GGUF.
#ifndef QZO_CLIENT_EXPORT_H_
#define QZO_CLIENT_EXPORT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/fs.h"
#include "method/partition.h"
#include "model/formats/gguf.h"

namespace qzo::client {

// What storing k · scale in the file's own precision did to the products.
struct ExportReport {
  int64_t tensors = 0;
  int64_t values = 0;             // products stored: scales and minima of blocks, weights of plain tensors
  int64_t overflowed = 0;         // beyond the type's largest number, which was stored instead
  int64_t subnormal = 0;          // below its smallest normal number: fewer digits
  double max_relative_error = 0;  // of the products that are neither
};

// Writes `file` to `destination` with every trained tensor multiplied: the half-precision scale of each block, and its
// minimum where it has one, or every plain weight, products rounded to nearest even. `multipliers` is the flat array of
// `partition`. Possible errors: INVALID_ARGUMENT (a tensor is missing, its type has no such scale, or one for several
// multipliers), those of WriteGgufWithReplacedTensors.
absl::StatusOr<ExportReport> ExportGguf(base::FileSystem* fs, const model::GgufFile& file,
                                        const method::Partition& partition, absl::Span<const float> multipliers,
                                        const std::string& destination);

// IEEE binary32 to binary16 and bfloat16, to nearest even; what is too large becomes infinite, NaN stays one.
uint16_t FloatToHalf(float value);
uint16_t FloatToBf16(float value);

}  // namespace qzo::client

#endif  // QZO_CLIENT_EXPORT_H_
