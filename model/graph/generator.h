// Text generation with a key-value cache, greedy or sampled. Thread-compatible.
#ifndef QZO_MODEL_GRAPH_GENERATOR_H_
#define QZO_MODEL_GRAPH_GENERATOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "model/graph/engine.h"

namespace qzo::model {

struct SamplingOptions {
  int max_tokens = 128;
  double temperature = 0;  // 0 = greedy
  int top_k = 0;           // 0 = all
  double top_p = 1;
  uint64_t seed = 0;
  std::vector<int32_t> stop_tokens = {};  // end the text and are not emitted
};

class Generator {
 public:
  // The arguments must outlive the generator; only lane 0 of `lanes` is used.
  Generator(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool,
            kernels::Arithmetic arithmetic, LaneSource* lanes);
  ~Generator();

  // Continues `prompt` (at least one token) and hands each new token to `emit`, which returns false to stop. The same
  // seed gives the same text. Possible errors: INVALID_ARGUMENT (as Engine::Losses, or options out of range).
  absl::Status Generate(absl::Span<const int32_t> prompt, const SamplingOptions& options,
                        const std::function<bool(int32_t)>& emit);

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_GENERATOR_H_
