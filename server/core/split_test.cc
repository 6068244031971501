#include "server/core/split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <random>

namespace qzo::server::core {
namespace {

using ::testing::ElementsAre;
using Ranges = std::vector<LayerRange>;

ModelShape Even(uint32_t layers, int64_t bytes = 10) {
  ModelShape shape;
  shape.layers.assign(layers, {bytes, 1});
  return shape;
}

double LargestCost(const ModelShape& shape, const Ranges& split) {
  double largest = 0;
  for (const LayerRange& layers : split) largest = std::max(largest, StageCost(shape, layers));
  return largest;
}

TEST(Split, EvenLayersAreSharedEvenly) {
  EXPECT_EQ(SplitLayers(Even(6), {kUnlimited, kUnlimited, kUnlimited}), (Ranges{{0, 2}, {2, 4}, {4, 6}}));
  EXPECT_EQ(SplitLayers(Even(5), {kUnlimited, kUnlimited, kUnlimited}), (Ranges{{0, 1}, {1, 3}, {3, 5}}));
  EXPECT_EQ(SplitLayers(Even(5), {kUnlimited}), (Ranges{{0, 5}}));
}

TEST(Split, TheHeadCountsForTheLastStage) {
  ModelShape shape = Even(6);
  shape.head_cost = 2;
  EXPECT_EQ(SplitLayers(shape, {kUnlimited, kUnlimited}), (Ranges{{0, 4}, {4, 6}}));
}

TEST(Split, NobodyHoldsMoreThanItsMemory) {
  ModelShape shape = Even(6);
  EXPECT_EQ(SplitLayers(shape, {20, 60}), (Ranges{{0, 2}, {2, 6}}));
  EXPECT_EQ(SplitLayers(shape, {60, 10}), (Ranges{{0, 5}, {5, 6}}));
  EXPECT_EQ(SplitLayers(shape, {20, 30}), std::nullopt) << "50 of 60 bytes";
  shape.embedding_bytes = 15;
  EXPECT_EQ(SplitLayers(shape, {34, 60}), (Ranges{{0, 1}, {1, 6}})) << "the embedding is at the first stage";
  shape.head_bytes = 15;
  EXPECT_EQ(SplitLayers(shape, {60, 34}), std::nullopt) << "and the head at the last";
  EXPECT_EQ(SplitLayers(shape, {65, 35}), (Ranges{{0, 4}, {4, 6}}));
  shape.stage_bytes = 1;
  EXPECT_EQ(SplitLayers(shape, {65, 35}), std::nullopt) << "and that at each";
}

TEST(Split, MoreStagesThanLayersDoNotExist) {
  EXPECT_EQ(SplitLayers(Even(2), {kUnlimited, kUnlimited, kUnlimited}), std::nullopt);
  EXPECT_EQ(SplitLayers(Even(2), {}), std::nullopt);
  EXPECT_EQ(SplitLayers(ModelShape(), {kUnlimited}), std::nullopt);
}

// All splits, by counting.
std::optional<double> BestByCounting(const ModelShape& shape, const std::vector<int64_t>& memory) {
  const auto layers = static_cast<uint32_t>(shape.layers.size());
  std::optional<double> best;
  Ranges split;
  const std::function<void(uint32_t)> extend = [&](uint32_t first) {
    if (split.size() == memory.size()) {
      if (first == layers && (!best || LargestCost(shape, split) < *best)) best = LargestCost(shape, split);
      return;
    }
    for (uint32_t end = first + 1; end <= layers; ++end) {
      if (StageBytes(shape, {first, end}) > memory[split.size()]) break;
      split.push_back({first, end});
      extend(end);
      split.pop_back();
    }
  };
  extend(0);
  return best;
}

ModelShape Random(std::mt19937* random) {
  const auto draw = [&](uint32_t below) { return static_cast<int64_t>((*random)() % below); };
  ModelShape shape{.embedding_bytes = draw(30), .head_bytes = draw(30), .stage_bytes = draw(5)};
  shape.head_cost = static_cast<double>(draw(10));
  for (int64_t l = 1 + draw(9); l > 0; --l) shape.layers.push_back({1 + draw(20), static_cast<double>(1 + draw(9))});
  return shape;
}

TEST(Split, NoOtherSplitIsCheaper) {
  std::mt19937 random(1);
  int found = 0;
  for (int round = 0; round < 2000; ++round) {
    const ModelShape shape = Random(&random);
    std::vector<int64_t> memory;
    for (uint32_t s = 1 + random() % 4; s > 0; --s) memory.push_back(20 + static_cast<int64_t>(random() % 80));
    const std::optional<Ranges> split = SplitLayers(shape, memory);
    const std::optional<double> best = BestByCounting(shape, memory);
    ASSERT_EQ(split.has_value(), best.has_value());
    if (!split) continue;
    ++found;
    EXPECT_EQ(LargestCost(shape, *split), *best);
    uint32_t layer = 0;
    for (size_t s = 0; s < split->size(); ++s) {
      EXPECT_EQ((*split)[s].first, layer);
      EXPECT_LE(StageBytes(shape, (*split)[s]), memory[s]);
      layer = (*split)[s].end;
    }
    EXPECT_EQ(layer, shape.layers.size());
  }
  EXPECT_GT(found, 500);
}

TEST(Place, TheOrderOfWorkersIsFoundWhereOneFits) {
  std::mt19937 random(2);
  int found = 0;
  for (int round = 0; round < 500; ++round) {
    ModelShape shape = Random(&random);
    for (ModelShape::Layer& layer : shape.layers) layer = {10, 1};
    std::vector<int64_t> memory;
    for (uint32_t s = 2 + random() % 3; s > 0; --s) memory.push_back(10 + static_cast<int64_t>(random() % 80));
    const auto stages = static_cast<uint32_t>(memory.size());
    std::vector<int64_t> order = memory;
    std::sort(order.begin(), order.end());
    bool fits = false;
    do fits = fits || BestByCounting(shape, order).has_value();
    while (std::next_permutation(order.begin(), order.end()));
    const std::optional<Placing> placing = PlaceStages(shape, stages, memory);
    ASSERT_EQ(placing.has_value(), fits) << round;
    if (!placing) continue;
    ++found;
    std::vector<size_t> seen = placing->order;
    std::sort(seen.begin(), seen.end());
    for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], i) << "every worker once";
    for (size_t i = 0; i < stages; ++i) {
      EXPECT_LE(StageBytes(shape, placing->layers[i]), memory[placing->order[i]]);
    }
  }
  EXPECT_GT(found, 100);
}

TEST(Place, TheLargestAreChosen) {
  const std::optional<Placing> placing = PlaceStages(Even(4), 2, {5, 20, 10, 20});
  ASSERT_TRUE(placing.has_value());
  EXPECT_THAT(placing->order, ElementsAre(1, 3));
  EXPECT_EQ(PlaceStages(Even(4), 2, {kUnlimited}), std::nullopt);
}

TEST(Missing, CountsWhatTheLargestLack) {
  ModelShape shape = Even(4);
  shape.embedding_bytes = shape.head_bytes = 5;
  shape.stage_bytes = 1;
  EXPECT_EQ(PipelineBytes(shape, 2), 40 + 10 + 2);
  EXPECT_EQ(MissingBytes(shape, 2, {10, 20, 15}), 52 - 35);
  EXPECT_EQ(MissingBytes(shape, 2, {}), 52);
  EXPECT_EQ(MissingBytes(shape, 2, {kUnlimited, kUnlimited}), 0);
}

}  // namespace
}  // namespace qzo::server::core
