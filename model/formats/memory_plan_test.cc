#include "model/formats/memory_plan.h"

#include <gtest/gtest.h>

namespace qzo::model {
namespace {

ModelInfo TwoLayers() {
  ModelInfo info;
  info.layers = 2;
  info.embedding_length = 64;
  info.feed_forward_length = 128;
  info.heads = info.kv_heads = 2;
  info.head_dim = info.rotary_dim = 32;
  info.vocabulary = 1000;
  info.context_length = 100;
  info.trained = {{.name = "a", .rows = 64, .cols = 64, .group = 32},
                  {.name = "b", .rows = 32, .cols = 64, .group = 32}};
  info.file_bytes = 10 << 20;
  info.released_bytes = 4 << 20;
  info.repacked_bytes = 5 << 20;
  info.embedding_bytes = 1 << 20;
  return info;
}

method::MethodSpec Method() {
  method::MethodSpec method;
  method.probes = 1;
  method.batch_size = 4;
  return method;
}

TEST(MemoryPlan, CountsWhatIsMappedOnce) {
  ModelInfo info = TwoLayers();
  EXPECT_EQ(PlanMemory(info, Method(), 10, 3).mapped, (6 << 20) - (1 << 20) + 3 * (64 << 10));
  EXPECT_EQ(PlanMemory(info, Method(), 10, 1 << 20).mapped, 6 << 20) << "of a long run, all of the embedding";
  info.tied_head = true;
  EXPECT_EQ(PlanMemory(info, Method(), 10, 3).mapped, 6 << 20) << "the head reads it whole";
  EXPECT_EQ(PlanMemory(info, Method(), 10, 3).repacked, 5 << 20);
}

TEST(MemoryPlan, CountsMultipliersAndTheLanesOfALayer) {
  method::MethodSpec method = Method();
  const ModelInfo info = TwoLayers();
  // 96 by channel, and two lanes of a half of them.
  EXPECT_EQ(PlanMemory(info, method, 10, 3).multipliers, 4 * (96 + 2 * 48));
  method.granularity = method::Granularity::kGroup;
  EXPECT_EQ(PlanMemory(info, method, 10, 3).multipliers, 4 * (192 + 2 * 96));
  method.mode = method::Mode::kAbsolute;
  EXPECT_EQ(PlanMemory(info, method, 10, 3).multipliers, 4 * (2 * 192 + 2 * 96));
  method.probes = 8;  // 80 rows pass together: eight lanes of ten tokens
  EXPECT_EQ(PlanMemory(info, method, 10, 3).multipliers, 4 * (2 * 192 + 8 * 96));
}

TEST(MemoryPlan, CountsADeltaForEveryUnquantizedValueOnce) {
  method::MethodSpec method = Method();
  ModelInfo info = TwoLayers();
  info.embedding.weight = "embedding", info.head.weight = "head", info.output_norm.weight = "norm";
  info.blocks.resize(2);
  info.ListUnquantized([](const std::string& tensor) { return tensor == "embedding"; });
  const MemoryPlan without = PlanMemory(info, method, 10, 3);
  method.train_unquantized = true;
  EXPECT_EQ(PlanMemory(info, method, 10, 3).multipliers, without.multipliers + 4 * (1000 * 64 + 64));
  EXPECT_EQ(PlanMemory(info, method, 10, 3).activations, without.activations) << "the head has no deltas";
  info.tied_head = true, info.head.weight = "embedding";
  info.ListUnquantized([](const std::string&) { return true; });
  EXPECT_EQ(PlanMemory(info, method, 10, 3).multipliers, without.multipliers + 4 * (1000 * 64 + 64)) << "one for both";
  EXPECT_EQ(PlanMemory(info, method, 10, 3).activations, without.activations + 4 * kHeadPanelRows * 64);
}

TEST(MemoryPlan, ActivationsFollowTheLongestPass) {
  const ModelInfo info = TwoLayers();
  method::MethodSpec method = Method();
  EXPECT_EQ(PlanMemory(info, method, 10, 3).activations, info.ActivationBytes(80));
  method.batch_size = 1000;
  EXPECT_EQ(PlanMemory(info, method, 10, 3).activations, info.ActivationBytes(kPassRows));
  EXPECT_EQ(PlanMemory(info, method, 2000, 3).activations, info.ActivationBytes(4000)) << "a row alone";
}

}  // namespace
}  // namespace qzo::model
