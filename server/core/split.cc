#include "server/core/split.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <set>
#include <utility>

namespace qzo::server::core {
namespace {

// With many different memories only so many workers are tried at the ends, the largest first.
constexpr size_t kEndsTried = 8;

// Entries of `memory`, the largest first, of equals the first.
std::vector<size_t> LargestFirst(absl::Span<const int64_t> memory) {
  std::vector<size_t> order(memory.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return memory[a] > memory[b]; });
  return order;
}

double LargestCost(const ModelShape& shape, const std::vector<LayerRange>& split) {
  double largest = 0;
  for (const LayerRange& layers : split) largest = std::max(largest, StageCost(shape, layers));
  return largest;
}

}  // namespace

int64_t StageBytes(const ModelShape& shape, LayerRange layers) {
  int64_t bytes = shape.stage_bytes;
  for (uint32_t l = layers.first; l < layers.end; ++l) bytes += shape.layers[l].bytes;
  if (layers.first == 0) bytes += shape.embedding_bytes;
  if (layers.end == shape.layers.size()) bytes += shape.head_bytes;
  return bytes;
}

double StageCost(const ModelShape& shape, LayerRange layers) {
  double cost = layers.end == shape.layers.size() ? shape.head_cost : 0;
  for (uint32_t l = layers.first; l < layers.end; ++l) cost += shape.layers[l].cost;
  return cost;
}

int64_t PipelineBytes(const ModelShape& shape, uint32_t stages) {
  int64_t bytes = shape.embedding_bytes + shape.head_bytes + shape.stage_bytes * stages;
  for (const ModelShape::Layer& layer : shape.layers) bytes += layer.bytes;
  return bytes;
}

std::optional<std::vector<LayerRange>> SplitLayers(const ModelShape& shape, absl::Span<const int64_t> memory) {
  const auto layers = static_cast<uint32_t>(shape.layers.size());
  const auto stages = static_cast<uint32_t>(memory.size());
  if (stages == 0 || stages > layers) return std::nullopt;
  constexpr double kNever = std::numeric_limits<double>::infinity();
  // best[s][e]: the least that the most expensive of stages [0, s) costs when they hold layers [0, e); from[s][e]:
  // where the last of them begins then.
  std::vector<std::vector<double>> best(stages + 1, std::vector<double>(layers + 1, kNever));
  std::vector<std::vector<uint32_t>> from(stages + 1, std::vector<uint32_t>(layers + 1, 0));
  best[0][0] = 0;
  for (uint32_t s = 1; s <= stages; ++s) {
    for (uint32_t end = s; end <= layers - (stages - s); ++end) {
      int64_t bytes = StageBytes(shape, {end, end});
      double cost = StageCost(shape, {end, end});
      for (uint32_t first = end; first-- > s - 1;) {
        bytes += shape.layers[first].bytes + (first == 0 ? shape.embedding_bytes : 0);
        cost += shape.layers[first].cost;
        if (bytes > memory[s - 1]) break;
        const double largest = std::max(best[s - 1][first], cost);
        if (largest <= best[s][end] && largest < kNever) {
          best[s][end] = largest;
          from[s][end] = first;
        }
      }
    }
  }
  if (best[stages][layers] == kNever) return std::nullopt;
  std::vector<LayerRange> split(stages);
  for (uint32_t s = stages, end = layers; s > 0; --s) {
    split[s - 1] = {from[s][end], end};
    end = from[s][end];
  }
  return split;
}

std::optional<Placing> PlaceStages(const ModelShape& shape, uint32_t stages, absl::Span<const int64_t> memory) {
  if (stages == 0 || stages > memory.size() || stages > shape.layers.size()) return std::nullopt;
  std::vector<size_t> chosen = LargestFirst(memory);
  chosen.resize(stages);
  // Stages between the ends are alike but for their layers; what stands at the ends has the embedding and the head as
  // well. One worker of each size is tried at either end, the others follow each other by size.
  std::vector<size_t> sizes;
  for (const size_t worker : chosen) {
    if (sizes.size() == kEndsTried) break;
    if (sizes.empty() || memory[sizes.back()] != memory[worker]) sizes.push_back(worker);
  }
  std::optional<Placing> best;
  double best_cost = 0;
  for (const size_t first : sizes) {
    std::vector<size_t> others = chosen;
    others.erase(std::find(others.begin(), others.end(), first));
    std::set<int64_t> tried;
    for (size_t l = std::max<size_t>(1, others.size()); l-- > 0;) {
      Placing placing;
      placing.order = {first};
      if (!others.empty()) {
        if (tried.size() == kEndsTried || !tried.insert(memory[others[l]]).second) continue;
        for (size_t i = 0; i < others.size(); ++i) {
          if (i != l) placing.order.push_back(others[i]);
        }
        placing.order.push_back(others[l]);
      }
      std::vector<int64_t> in_order;
      for (const size_t worker : placing.order) in_order.push_back(memory[worker]);
      std::optional<std::vector<LayerRange>> split = SplitLayers(shape, in_order);
      if (!split) continue;
      const double cost = LargestCost(shape, *split);
      if (best && cost >= best_cost) continue;
      placing.layers = *std::move(split);
      best = std::move(placing);
      best_cost = cost;
    }
  }
  return best;
}

int64_t MissingBytes(const ModelShape& shape, uint32_t stages, absl::Span<const int64_t> memory) {
  std::vector<int64_t> sorted(memory.begin(), memory.end());
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  int64_t missing = PipelineBytes(shape, stages);
  for (size_t i = 0; i < std::min<size_t>(stages, sorted.size()); ++i) missing -= std::min(missing, sorted[i]);
  return missing;
}

}  // namespace qzo::server::core
