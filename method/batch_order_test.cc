#include "method/batch_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace qzo::method {
namespace {

using ::testing::ElementsAre;

constexpr char kDigest[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const std::vector<std::vector<int32_t>> kRowsByLabel = {{0, 2, 4, 6, 8, 10}, {1, 3, 5}, {}, {7, 9}};

MethodSpec Spec(Sampling sampling, uint32_t batch_size, uint32_t micro_batches) {
  MethodSpec spec;
  spec.seed = 42;
  spec.sampling = sampling;
  spec.batch_size = batch_size;
  spec.micro_batches = micro_batches;
  return spec;
}

std::vector<uint64_t> Permutation(uint64_t key, uint32_t stream, uint32_t epoch, uint64_t size) {
  std::vector<uint64_t> out;
  for (uint64_t i = 0; i < size; ++i) out.push_back(PermutedIndex(key, stream, epoch, size, i));
  return out;
}

// The golden vectors here were computed by a separate program written from docs/formats.md alone.
TEST(PermutedIndex, MatchesTheGoldenVectors) {
  EXPECT_THAT(Permutation(7, 0, 0, 10), ElementsAre(5, 0, 3, 6, 8, 9, 4, 1, 2, 7));
  EXPECT_THAT(Permutation(7, 1, 0, 10), ElementsAre(8, 1, 6, 3, 5, 4, 7, 0, 9, 2));
  EXPECT_THAT(Permutation(7, 0, 1, 10), ElementsAre(2, 7, 8, 0, 6, 1, 3, 9, 4, 5));
  EXPECT_EQ(PermutedIndex(0x123456789abcdef0, 3, 2, 1'000'000, 0), 169078u);
  EXPECT_EQ(PermutedIndex(0x123456789abcdef0, 3, 2, 1'000'000, 1), 843601u);
  EXPECT_EQ(PermutedIndex(0x123456789abcdef0, 3, 2, 1'000'000, 999'999), 925110u);
  const uint64_t huge = (uint64_t{1} << 40) + 1;
  EXPECT_EQ(PermutedIndex(5, 0, 0, huge, 0), 833385176761u);
  EXPECT_EQ(PermutedIndex(5, 0, 0, huge, huge - 1), 1073012299575u);
}

TEST(PermutedIndex, IsAPermutationForEverySize) {
  for (uint64_t size = 1; size <= 300; ++size) {
    std::vector<uint64_t> values = Permutation(size, 2, 3, size);
    std::sort(values.begin(), values.end());
    std::vector<uint64_t> expected(size);
    std::iota(expected.begin(), expected.end(), uint64_t{0});
    ASSERT_EQ(values, expected) << size;
  }
}

TEST(BatchOrder, MatchesTheGoldenVectors) {
  const BatchOrder shuffled(Spec(Sampling::kShuffled, 4, 2), kDigest, kRowsByLabel);
  EXPECT_THAT(shuffled.Rows(0, 0), ElementsAre(7, 10));
  EXPECT_THAT(shuffled.Rows(0, 1), ElementsAre(6, 9));
  EXPECT_THAT(shuffled.Rows(1, 0), ElementsAre(1, 4));
  EXPECT_THAT(shuffled.Rows(2, 1), ElementsAre(0, 1));
  const BatchOrder balanced(Spec(Sampling::kBalanced, 6, 1), kDigest, kRowsByLabel);
  EXPECT_THAT(balanced.Rows(0, 0), ElementsAre(10, 1, 7, 0, 3, 9));
  EXPECT_THAT(balanced.Rows(1, 0), ElementsAre(6, 5, 7, 4, 1, 9));
  EXPECT_THAT(balanced.Rows(2, 0), ElementsAre(2, 5, 9, 8, 3, 7));
}

TEST(BatchOrder, ShuffledVisitsEveryRowOnceAnEpoch) {
  const BatchOrder order(Spec(Sampling::kShuffled, 11, 1), kDigest, kRowsByLabel);
  std::vector<int32_t> first = order.Rows(0, 0);
  std::vector<int32_t> second = order.Rows(1, 0);
  EXPECT_NE(first, second) << "epochs are shuffled anew";
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  EXPECT_THAT(first, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
  EXPECT_EQ(second, first);
}

TEST(BatchOrder, MicroBatchesAreSlicesOfTheBatch) {
  const BatchOrder whole(Spec(Sampling::kShuffled, 6, 1), kDigest, kRowsByLabel);
  const BatchOrder cut(Spec(Sampling::kShuffled, 6, 3), kDigest, kRowsByLabel);
  for (uint32_t step = 0; step < 5; ++step) {
    std::vector<int32_t> joined;
    for (uint32_t m = 0; m < 3; ++m) {
      for (const int32_t row : cut.Rows(step, m)) joined.push_back(row);
    }
    EXPECT_EQ(joined, whole.Rows(step, 0));
  }
}

TEST(BatchOrder, DependsOnSeedAndDataset) {
  MethodSpec spec = Spec(Sampling::kShuffled, 11, 1);
  const std::vector<int32_t> rows = BatchOrder(spec, kDigest, kRowsByLabel).Rows(0, 0);
  EXPECT_NE(BatchOrder(spec, "another digest", kRowsByLabel).Rows(0, 0), rows);
  spec.seed = 43;
  EXPECT_NE(BatchOrder(spec, kDigest, kRowsByLabel).Rows(0, 0), rows);
}

TEST(EvaluationRows, AreAllRowsOrASeededSubset) {
  EXPECT_EQ(EvaluationRows(1, Sampling::kShuffled, kRowsByLabel, 0).size(), 11u);
  EXPECT_EQ(EvaluationRows(1, Sampling::kShuffled, kRowsByLabel, 99).size(), 11u);
  const std::vector<int32_t> some = EvaluationRows(1, Sampling::kShuffled, kRowsByLabel, 5);
  EXPECT_EQ(some.size(), 5u);
  EXPECT_TRUE(std::is_sorted(some.begin(), some.end()));
  EXPECT_EQ(std::adjacent_find(some.begin(), some.end()), some.end()) << "no row twice";
  EXPECT_EQ(EvaluationRows(1, Sampling::kShuffled, kRowsByLabel, 5), some);
  EXPECT_NE(EvaluationRows(2, Sampling::kShuffled, kRowsByLabel, 5), some);
}

TEST(EvaluationRows, OfABalancedJobHoldLabelsInEqualParts) {
  const std::vector<std::vector<int32_t>> lists = {{0, 2, 4, 6, 8}, {}, {1, 3, 5}};
  EXPECT_EQ(EvaluationRowCount(Sampling::kBalanced, {5, 0, 3}, 0), 6);
  EXPECT_EQ(EvaluationRowCount(Sampling::kBalanced, {5, 0, 3}, 4), 4);
  EXPECT_EQ(EvaluationRowCount(Sampling::kBalanced, {5, 0, 3}, 1), 2) << "one of each at least";
  EXPECT_EQ(EvaluationRowCount(Sampling::kBalanced, {7}, 3), 3) << "without labels there is nothing to balance";
  const std::vector<int32_t> rows = EvaluationRows(1, Sampling::kBalanced, lists, 0);
  EXPECT_EQ(rows.size(), 6u);
  EXPECT_EQ(std::count_if(rows.begin(), rows.end(), [](int32_t row) { return row % 2 == 1; }), 3);
}

}  // namespace
}  // namespace qzo::method
