// Forward passes over many lanes at once: losses of examples, scores of options. Batch-invariant: what an example
// yields depends on the example, the lane's multipliers and the arithmetic only, never on what shares the call (tested
// bit for bit).
#ifndef QZO_MODEL_GRAPH_ENGINE_H_
#define QZO_MODEL_GRAPH_ENGINE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "model/graph/model.h"
#include "model/tasks/evaluation.h"
#include "model/tasks/example.h"
#include "model/tasks/task.h"

namespace qzo::model {

// What lanes are made of, for engines that perturb on the fly: the multipliers and deltas of a replica and a direction
// per lane.
struct LaneState {
  absl::Span<const float> multipliers;  // and deltas, flat over the partition; empty: all ones, and no directions
  absl::Span<const float> units;        // of the multipliers, likewise; empty: all ones
  float delta_unit = 0;                 // of the deltas; 0: there are none
  std::shared_ptr<const void> owner;    // of the multipliers, and
  uint64_t version = 0;                 // how often it has changed them
  // The step that made them of those of the version before, by the rule of Kernels::update, of deltas without a floor;
  // empty: another change.
  absl::Span<const kernels::NoiseKey> keys;  // a probe each, but the tensor
  absl::Span<const float> coefficients;
};
struct LaneDirection {
  kernels::NoiseKey key;  // but the tensor
  float signed_epsilon = 0;
};

// Where the engine gets the multipliers of its lanes, tensor by tensor, so that a perturbed copy is never held as a
// whole.
class LaneSource {
 public:
  virtual ~LaneSource() = default;
  virtual int lanes() const = 0;
  virtual kernels::Granularity granularity() const = 0;
  // Makes ready the multipliers of trained tensors [first, first + count) for lanes [lane_begin, lane_end): called
  // layer by layer in a forward pass, from one thread; ends what the call before it made ready.
  virtual void Prepare(int /*lane_begin*/, int /*lane_end*/, int /*first*/, int /*count*/) {}
  // Of one of those, for one of those; nullptr = all ones.
  virtual const float* Multipliers(int lane, int ordinal) = 0;

  // Whether a lane has deltas, and x[0 … count) += values [begin, begin + count) of those of tensor `tensor` of
  // ModelInfo::unquantized; from any thread, and in whatever pieces, the same.
  virtual bool has_deltas(int /*lane*/) const { return false; }
  virtual void AddDeltas(int /*lane*/, int /*tensor*/, int64_t /*begin*/, int64_t /*count*/, float* /*x*/) const {}

  // The same multipliers and deltas, bit for bit, as a state and directions; nothing for lanes that are none.
  virtual std::optional<LaneState> State() const { return std::nullopt; }
  virtual LaneDirection Direction(int /*lane*/) const { return {}; }
};

// The base model as it is: one lane of ones.
class PlainLane final : public LaneSource {
 public:
  int lanes() const override { return 1; }
  kernels::Granularity granularity() const override { return kernels::Granularity::kChannel; }
  const float* Multipliers(int, int) override { return nullptr; }
  std::optional<LaneState> State() const override { return LaneState{}; }
};

// One lane's measure of one example.
struct ExampleLoss {
  double loss = 0;         // classification: cross-entropy; else Σ −log p over scored tokens
  int64_t count = 0;       // 1; else scored tokens
  int32_t predicted = -1;  // classification: the option with the highest score, the first of equals
};

class Passes;

// Thread-compatible: one call at a time. Buffers are kept between calls.
class Engine {
 public:
  // The arguments must outlive the engine. `max_rows` bounds the token rows (tokens × lanes) of one forward pass and so
  // the activations' memory; an example that is larger on its own is evaluated alone. Results do not depend on it.
  Engine(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool, kernels::Arithmetic arithmetic,
         int64_t max_rows = kPassRows);
  // Passes that run elsewhere, on a GPU.
  Engine(const Model& model, std::unique_ptr<Passes> passes, int64_t max_rows);
  ~Engine();

  // out[lane * examples.size() + i] for example i. Prompts are computed once and shared by their branches; logits only
  // where a token is scored. Losses may be non-finite: the caller decides. Possible errors: INVALID_ARGUMENT (token id
  // outside the vocabulary, more tokens than the context holds); those of its passes.
  absl::Status Losses(TaskKind kind, absl::Span<const Example* const> examples, LaneSource* lanes,
                      std::vector<ExampleLoss>* out);

  // Mean log-probability of each option of one example under lane 0.
  absl::StatusOr<std::vector<double>> OptionScores(const Example& example, LaneSource* lanes);

  // Logits [ids.size(), vocabulary] of a plain sequence under lane 0 (tests, perplexity).
  absl::StatusOr<std::vector<float>> Logits(absl::Span<const int32_t> ids, LaneSource* lanes);

  int64_t arena_bytes() const;  // held now

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_ENGINE_H_
