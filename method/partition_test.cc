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

TEST(Partition, ASliceKeepsOrdinalsAndCountsFromItsOwnBeginning) {
  std::vector<TensorShape> shapes = kShapes;
  shapes.push_back({"blk.1.attn_q.weight", 3, 64, 32});
  const Partition whole(Granularity::kGroup, shapes);
  const Partition slice = whole.Slice(1, 2);
  EXPECT_EQ(slice.granularity(), Granularity::kGroup);
  ASSERT_EQ(slice.tensors().size(), 2u);
  EXPECT_EQ(slice.multiplied(2).shape, shapes[2]);
  EXPECT_EQ(slice.multiplied(2).ordinal, 2u);
  EXPECT_EQ(slice.multiplied(1).offset, 0);
  EXPECT_EQ(slice.multiplied(2).offset, 6);
  EXPECT_EQ(slice.multipliers(), 6 + 6);
  EXPECT_EQ(slice.first_value(), 8);
  EXPECT_EQ(slice.Slice(1, 1).first_value(), 8 + 6);
}

TEST(Partition, TensorsWithDeltasHaveOneForEveryValue) {
  std::vector<TensorShape> shapes = {
      {"token_embd.weight", 5, 64, 64, true}, kShapes[0], {"blk.0.attn_norm.weight", 1, 64, 64, true}, kShapes[1]};
  const Partition whole(Granularity::kGroup, shapes);
  EXPECT_EQ(whole.deltas(), 5 * 64 + 64);
  EXPECT_EQ(whole.multipliers(), 8 + 6);
  EXPECT_EQ(whole.values(), 6 * 64 + 8 + 6);
  EXPECT_EQ(whole.added(1).ordinal, 2u);
  EXPECT_EQ(whole.added(1).offset, 5 * 64 + 8);
  EXPECT_EQ(whole.multiplied(1).ordinal, 3u);
  EXPECT_EQ(whole.multiplied(1).unit, 8) << "units are of multipliers alone";
  const std::vector<float> initial = whole.InitialValues();
  ASSERT_EQ(static_cast<int64_t>(initial.size()), whole.values());
  EXPECT_EQ(initial[5 * 64 - 1], 0);
  EXPECT_EQ(initial[5 * 64], 1);
  EXPECT_EQ(initial[5 * 64 + 8], 0);
  EXPECT_EQ(initial.back(), 1);

  const Partition slice = whole.Slice(2, 2);
  EXPECT_EQ(slice.first_value(), 5 * 64 + 8);
  EXPECT_EQ(slice.added(1).shape, shapes[2]);
  EXPECT_EQ(slice.added(1).offset, 0);
  EXPECT_EQ(slice.multiplied(1).ordinal, 3u);
  EXPECT_EQ(slice.multiplied(1).unit, 0);
  EXPECT_EQ(slice.deltas(), 64);
}

TEST(ReplicaDigest, IsTheSumOverTheSlices) {
  const Partition whole(Granularity::kChannel, kShapes);
  EXPECT_EQ(ReplicaDigest(whole, {1, 2, 3, 4, 5, 6}),
            ReplicaDigest(whole.Slice(0, 1), {1, 2, 3, 4}) + ReplicaDigest(whole.Slice(1, 1), {5, 6}));
}

}  // namespace
}  // namespace qzo::method
