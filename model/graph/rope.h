// Rotary tables from the settings of a model.
#ifndef QZO_MODEL_GRAPH_ROPE_H_
#define QZO_MODEL_GRAPH_ROPE_H_

#include <vector>

#include "absl/types/span.h"
#include "kernels/rope_table.h"
#include "model/formats/model_info.h"

namespace qzo::model {

// By what the settings divide each frequency: [rotary_dim / 2], or empty for nothing. Not of tensors.
std::vector<float> RopeDivisors(const ModelInfo& info, const Rope& rope);
// Of cosines and sines.
double RopeMagnitude(const Rope& rope);

// [context_length, rotary_dim / 2], the same bits on every machine; with kLongRope the rows of positions up to its
// context, then those of longer sequences (ModelInfo::FirstPosition). `divisors` and `long_divisors` are those of the
// tensors that `rope` names.
kernels::RopeTable MakeRopeTable(const ModelInfo& info, const Rope& rope, absl::Span<const float> divisors,
                                 absl::Span<const float> long_divisors);

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_ROPE_H_
