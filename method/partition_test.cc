#include "method/partition.h"

#include <gtest/gtest.h>

namespace qzo::method {
namespace {

const std::vector<TensorShape> kShapes = {{"blk.0.attn_q.weight", 4, 64, 32}, {"blk.0.ffn_up.weight", 2, 96, 32}};

TEST(Partition, CountsOneMultiplierPerRowOrPerGroup) {
  const Partition channel(Granularity::kChannel, kShapes);
  EXPECT_EQ(channel.multipliers(), 6);
  EXPECT_EQ(channel.tensors()[1].offset, 4);
  EXPECT_EQ(channel.tensors()[1].count, 2);
  const Partition group(Granularity::kGroup, kShapes);
  EXPECT_EQ(group.multipliers(), 8 + 6);
  EXPECT_EQ(group.tensors()[1].offset, 8);
  EXPECT_EQ(group.tensors()[1].count, 6);
}

// Computed by a separate program with the reference implementation of XXH3.
TEST(ReplicaDigest, MatchesTheGoldenVectors) {
  const Partition partition(Granularity::kChannel, kShapes);
  EXPECT_EQ(ReplicaDigest(partition, {1, 1, 1, 1, 1, 1}), 0x0b85da4bee299929u);
  EXPECT_EQ(ReplicaDigest(partition, {1, 1.5f, -2, 0, 0.25f, 3}), 0x6e22ba29c08875d8u);
}

TEST(ReplicaDigest, IsTheSumOfWhatStagesWouldSend) {
  // A stage digests its own tensors under their ordinals in the whole partition; the first tensor's is 0 either way.
  const Partition whole(Granularity::kChannel, kShapes);
  const Partition first(Granularity::kChannel, {kShapes[0]});
  const uint64_t rest = ReplicaDigest(whole, {1, 2, 3, 4, 5, 6}) - ReplicaDigest(first, {1, 2, 3, 4});
  EXPECT_EQ(ReplicaDigest(whole, {9, 9, 9, 9, 5, 6}), ReplicaDigest(first, {9, 9, 9, 9}) + rest);
}

}  // namespace
}  // namespace qzo::method
