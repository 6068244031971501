// How a model is cut into stages: contiguous ranges of layers, each held by one worker. Pure; thread-safe.
#ifndef QZO_SERVER_CORE_SPLIT_H_
#define QZO_SERVER_CORE_SPLIT_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"

namespace qzo::server::core {

// Layers [first, end).
struct LayerRange {
  uint32_t first = 0;
  uint32_t end = 0;
  bool operator==(const LayerRange&) const = default;
};

// What the parts of a job's model take at a worker: bytes of weights with their multipliers, and time in any unit.
struct ModelShape {
  struct Layer {
    int64_t bytes = 0;
    double cost = 0;
  };
  std::vector<Layer> layers;    // empty: it cannot be cut
  int64_t embedding_bytes = 0;  // at the first stage
  int64_t head_bytes = 0;       // at the last one, with the norm before it; a tied head is there a second time
  double head_cost = 0;
  int64_t stage_bytes = 0;  // at each stage besides: activations, tokenizer
  int64_t whole_bytes = 0;  // at a worker that holds all, as workers count it: without activations
};

constexpr int64_t kUnlimited = INT64_MAX;  // memory of a worker that did not say

int64_t StageBytes(const ModelShape& shape, LayerRange layers);
double StageCost(const ModelShape& shape, LayerRange layers);
// Of all stages of a pipeline together.
int64_t PipelineBytes(const ModelShape& shape, uint32_t stages);

// The split over as many stages as there are entries of `memory`, what each may take, whose most expensive stage is
// cheapest. Of equals, the one whose early stages end first. Nothing where none fits, or with fewer layers than stages.
std::optional<std::vector<LayerRange>> SplitLayers(const ModelShape& shape, absl::Span<const int64_t> memory);

// The same for workers that may stand in any order: order[i] is the entry of `memory` that holds stage i. Only `stages`
// of them are used, those with the most memory; of equals, the first.
struct Placing {
  std::vector<size_t> order;
  std::vector<LayerRange> layers;
};
std::optional<Placing> PlaceStages(const ModelShape& shape, uint32_t stages, absl::Span<const int64_t> memory);

// Bytes that the `stages` largest of `memory` lack in all to hold a pipeline; 0 where they have as many, though no
// split may fit all the same.
int64_t MissingBytes(const ModelShape& shape, uint32_t stages, absl::Span<const int64_t> memory);

}  // namespace qzo::server::core

#endif  // QZO_SERVER_CORE_SPLIT_H_
