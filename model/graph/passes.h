// Where forward passes run: the seam between the engine, which knows examples and losses, and a device.
#ifndef QZO_MODEL_GRAPH_PASSES_H_
#define QZO_MODEL_GRAPH_PASSES_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/graph/engine.h"
#include "model/graph/pack.h"

namespace qzo::model {

// Thread-compatible. Batch-invariant: what a row yields depends on its sequence and lane only.
class Passes {
 public:
  virtual ~Passes() = default;

  // Log-probabilities of the pack's targets go to log_probs[first_slot + slot], at the latest by the next Finish.
  virtual absl::Status Run(const Pack& pack, LaneSource* lanes, int64_t first_slot, std::vector<double>* log_probs) = 0;
  virtual absl::Status Finish(std::vector<double>* log_probs) = 0;

  // Logits [kept rows, vocabulary] of a pack.
  virtual absl::StatusOr<std::vector<float>> Logits(const Pack& pack, LaneSource* lanes) = 0;

  virtual int64_t bytes() const = 0;  // of working memory, held now
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_PASSES_H_
