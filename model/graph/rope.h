// Rotary tables from the settings of a model.
#ifndef QZO_MODEL_GRAPH_ROPE_H_
#define QZO_MODEL_GRAPH_ROPE_H_

#include "absl/types/span.h"
#include "kernels/rope_table.h"
#include "model/formats/model_info.h"

namespace qzo::model {

// [context_length, rotary_dim / 2], the same bits on every machine. `divisors` are those of rope.divisors_tensor, where
// it is named.
kernels::RopeTable MakeRopeTable(const ModelInfo& info, const Rope& rope, absl::Span<const float> divisors);

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_ROPE_H_
