// Rows of weights as blocks of the types that hold any multipliers: what export --type and models convert write. Pure;
// thread-safe.
#ifndef QZO_CLIENT_REQUANTIZE_H_
#define QZO_CLIENT_REQUANTIZE_H_

#include <string>

#include "absl/types/span.h"
#include "kernels/weights.h"
#include "model/formats/gguf.h"

namespace qzo::client {

// Appends `row` as blocks of F32, F16, Q8_0, Q4_0 or Q4_1; for the last three, its length is a multiple of 32. Codes
// are the nearest ones to what the stored, rounded scale and minimum make of them.
void AppendRow(model::GgmlType type, absl::Span<const float> row, std::string* out);

// Appends 32 values that are codes already as a block of Q8_0, Q4_0 or Q4_1 with the same codes and scale, of which
// only Q4_1's minimum is rounded. false, and nothing, where the type cannot have them.
bool AppendCodes(model::GgmlType type, const kernels::CodeBlock& block, std::string* out);

}  // namespace qzo::client

#endif  // QZO_CLIENT_REQUANTIZE_H_
