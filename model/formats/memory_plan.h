// What training a model takes in memory, before it is loaded: what `qzoctl plan` promises and bench/memory holds it to.
// Pure.
#ifndef QZO_MODEL_FORMATS_MEMORY_PLAN_H_
#define QZO_MODEL_FORMATS_MEMORY_PLAN_H_

#include <cstdint>

#include "method/spec.h"
#include "model/formats/model_info.h"

namespace qzo::model {

// Bytes of a worker's resident set, at its largest.
struct MemoryPlan {
  int64_t mapped = 0;  // of the model's files, once what was repacked is given back; shared by the processes of a host
  int64_t repacked = 0;  // copies of layers in blocks that are multiplied as they are
  // With the units of the absolute mode, the perturbed ones of a layer, and deltas, of which no perturbed copy is held.
  int64_t multipliers = 0;
  int64_t activations = 0;  // of a pass
  int64_t tables = 0;       // rotary tables, the vocabulary, and the program itself
  int64_t total() const { return mapped + repacked + multipliers + activations + tables; }
};

// `rows` of `longest_row` tokens pass together at most, of `tokens` that are read in the whole run: of an embedding
// that is not the head, too, only the pages of their rows are mapped.
MemoryPlan PlanMemory(const ModelInfo& info, const method::MethodSpec& method, int32_t longest_row, int64_t tokens);

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_MEMORY_PLAN_H_
