// Rows of weights as blocks of the types that hold any multipliers: what export --type writes. Pure; thread-safe.
#ifndef QZO_CLIENT_REQUANTIZE_H_
#define QZO_CLIENT_REQUANTIZE_H_

#include <string>

#include "absl/types/span.h"
#include "model/formats/gguf.h"

namespace qzo::client {

// Appends `row` as blocks of F16, Q8_0 or Q4_1; for the last two, its length is a multiple of 32. Codes are the nearest
// ones to what the stored, rounded scale and minimum make of them.
void AppendRow(model::GgmlType type, absl::Span<const float> row, std::string* out);

}  // namespace qzo::client

#endif  // QZO_CLIENT_REQUANTIZE_H_
