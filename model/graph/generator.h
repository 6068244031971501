// Text generation with a key-value cache, greedy or sampled. Thread-compatible.
#ifndef QZO_MODEL_GRAPH_GENERATOR_H_
#define QZO_MODEL_GRAPH_GENERATOR_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "model/graph/generation_batch.h"

namespace qzo::model {

// One text after the other.
class Generator {
 public:
  // The arguments must outlive the generator; only lane 0 of `lanes` is used.
  Generator(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool,
            kernels::Arithmetic arithmetic, LaneSource* lanes)
      : lanes_(lanes), batch_(model, kernels, pool, arithmetic) {}

  // Continues `prompt` (at least one token) and hands each new token to `emit`, which returns false to stop. The same
  // seed gives the same text. Possible errors: INVALID_ARGUMENT (as Engine::Losses, or options out of range).
  absl::Status Generate(absl::Span<const int32_t> prompt, const SamplingOptions& options,
                        const std::function<bool(int32_t)>& emit);

 private:
  LaneSource* const lanes_;
  GenerationBatch batch_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_GENERATOR_H_
