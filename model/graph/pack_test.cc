#include "model/graph/pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tuple>

namespace qzo::model {
namespace {

using ::testing::ElementsAre;
using Span = std::tuple<int, int, int, int>;
using Wanted = std::tuple<int, int, int>;  // kept, token, slot

std::vector<Span> Spans(const Pack& pack) {
  std::vector<Span> spans;
  for (const kernels::KeySpan& s : pack.spans) spans.emplace_back(s.prefix_begin, s.prefix_end, s.own_begin, s.own_end);
  return spans;
}

std::vector<Wanted> Targets(const Pack& pack) {
  std::vector<Wanted> targets;
  for (const Target& t : pack.targets) targets.emplace_back(t.kept, t.token, t.slot);
  return targets;
}

TEST(PackTest, BranchesFollowTheirPromptWithoutTheirLastTokens) {
  Pack pack;
  const Example example{.prompt = {10, 11}, .branches = {{20, 21, 22}, {30}, {40, 41}}, .scored = {}, .label = 0};
  AppendExample(example, 0, 0, &pack);
  EXPECT_EQ(PackedRows(example), 5);
  EXPECT_THAT(pack.tokens, ElementsAre(10, 11, 20, 21, 40));
  EXPECT_THAT(pack.positions, ElementsAre(0, 1, 2, 3, 2));
  EXPECT_THAT(Spans(pack),
              ElementsAre(Span(0, 0, 0, 1), Span(0, 0, 0, 2), Span(0, 2, 2, 3), Span(0, 2, 2, 4), Span(0, 2, 4, 5)));
  EXPECT_THAT(pack.kept, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(Targets(pack), ElementsAre(Wanted(0, 20, 0), Wanted(0, 30, 3), Wanted(0, 40, 4), Wanted(1, 21, 1),
                                         Wanted(2, 22, 2), Wanted(3, 41, 5)));
  EXPECT_EQ(pack.slots, 6);
}

TEST(PackTest, RowsOfTheNextExampleSeeNothingOfTheLast) {
  Pack pack;
  AppendExample({.prompt = {10}, .branches = {{20, 21}}, .scored = {}, .label = 0}, 0, 0, &pack);
  AppendExample({.prompt = {11, 12}, .branches = {{22, 23}}, .scored = {}, .label = 0}, 0, 0, &pack);
  EXPECT_THAT(pack.tokens, ElementsAre(10, 20, 11, 12, 22));
  EXPECT_THAT(pack.positions, ElementsAre(0, 1, 0, 1, 2));
  EXPECT_THAT(Spans(pack),
              ElementsAre(Span(0, 0, 0, 1), Span(0, 1, 1, 2), Span(0, 0, 2, 3), Span(0, 0, 2, 4), Span(2, 4, 4, 5)));
  EXPECT_THAT(Targets(pack), ElementsAre(Wanted(0, 20, 0), Wanted(1, 21, 1), Wanted(2, 22, 2), Wanted(3, 23, 3)));
}

TEST(PackTest, PositionsOfLongSequencesBeginElsewhere) {
  Pack pack;
  const Example example{.prompt = {10, 11}, .branches = {{20}, {30, 31, 32}}, .scored = {}, .label = 0};
  EXPECT_EQ(LongestSequence(example), 5);
  AppendExample(example, 0, 100, &pack);
  EXPECT_THAT(pack.positions, ElementsAre(100, 101, 102, 103));
  AppendSequence({1, 2}, 40, &pack);
  EXPECT_THAT(pack.positions, ElementsAre(100, 101, 102, 103, 40, 41));
}

TEST(PackTest, OnlyRowsThatPredictAScoredTokenAreKept) {
  Pack pack;
  AppendExample({.prompt = {10, 11}, .branches = {{20, 21, 22}}, .scored = {0, 1, 0}, .label = -1}, 0, 0, &pack);
  EXPECT_THAT(pack.tokens, ElementsAre(10, 11, 20, 21));
  EXPECT_THAT(pack.kept, ElementsAre(2));
  EXPECT_THAT(Targets(pack), ElementsAre(Wanted(0, 21, 1)));
  EXPECT_EQ(pack.slots, 3);
}

}  // namespace
}  // namespace qzo::model
