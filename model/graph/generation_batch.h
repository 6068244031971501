// Texts that are written together: one forward pass gives each of them its next token, under its own adapter and after
// its own beginning. What a text becomes does not depend on what else is written. Thread-compatible.
#ifndef QZO_MODEL_GRAPH_GENERATION_BATCH_H_
#define QZO_MODEL_GRAPH_GENERATION_BATCH_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/graph/engine.h"

namespace qzo::model {

struct SamplingOptions {
  int max_tokens = 128;
  double temperature = 0;  // 0 = greedy
  int top_k = 0;           // 0 = all
  double top_p = 1;
  uint64_t seed = 0;
  std::vector<int32_t> stop_tokens = {};  // end the text and are not part of it
};

// Memory that a text of so many tokens in all takes while it is written.
int64_t TextBytes(const ModelInfo& info, int64_t tokens);

class GenerationBatch {
 public:
  // The arguments must outlive the batch.
  GenerationBatch(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool,
                  kernels::Arithmetic arithmetic);
  ~GenerationBatch();

  // Takes a text in and reads its prompt (at least one token). `lanes`, of which lane 0 is used, must outlive it. The
  // same seed gives the same text. INVALID_ARGUMENT: prompt or options out of range.
  absl::StatusOr<uint64_t> Add(absl::Span<const int32_t> prompt, const SamplingOptions& options, LaneSource* lanes);
  // Forgets a text before its end.
  void Remove(uint64_t text);

  enum class End { kStop, kLength };  // a stop token; max_tokens, or the model's context
  struct Progress {
    uint64_t text = 0;
    std::optional<int32_t> token = {};  // its next one
    std::optional<End> end = {};        // it has ended and is forgotten
  };
  // One token more of every text.
  std::vector<Progress> Step();

  bool empty() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_GENERATION_BATCH_H_
