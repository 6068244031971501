#include "model/graph/generation_batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "model/graph/generator.h"
#include "model/graph/replica.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tiny_model.h"

namespace qzo::model {
namespace {

using qzo::testing::LoadStories;
using qzo::testing::StatusIs;
using qzo::testing::SupportedKernels;
using ::testing::HasSubstr;

using Texts = std::map<uint64_t, std::vector<int32_t>>;

struct Wish {
  std::vector<int32_t> prompt;
  SamplingOptions options;
  LaneSource* lanes;
};

class GenerationBatchTest : public ::testing::Test {
 protected:
  // A replica some steps away from the base model, and its lane.
  LaneSource* Tuned(method::Granularity granularity, float coefficient) {
    method::MethodSpec spec;
    spec.granularity = granularity;
    spec.steps = 4;
    spec.probes = 1;
    absl::StatusOr<std::unique_ptr<Replica>> replica = Replica::Create(*model_, spec, kernels::BestKernels(), &pool_);
    EXPECT_OK(replica);
    EXPECT_OK((*replica)->Apply({&coefficient, 1}));
    replicas_.push_back(*std::move(replica));
    lanes_.push_back(replicas_.back()->CurrentLane());
    return lanes_.back().get();
  }
  std::vector<Wish> Wishes() {
    std::vector<Wish> wishes;
    const auto wish = [&wishes](std::vector<int32_t> prompt, int max_tokens, LaneSource* lanes) {
      wishes.push_back({std::move(prompt), {.max_tokens = max_tokens}, lanes});
    };
    wish({1, 403}, 30, &plain_);
    wish({1, 403}, 12, Tuned(method::Granularity::kChannel, 0.3f));
    wish({1, 298, 315}, 25, Tuned(method::Granularity::kChannel, -0.05f));
    wishes.back().options.temperature = 1.0;
    wish({1, 403, 407, 261}, 20, Tuned(method::Granularity::kGroup, 0.05f));
    wish({1}, 0, &plain_);
    return wishes;
  }

  std::unique_ptr<Model> model_ = LoadStories("Q4_1");
  kernels::ThreadPool pool_{2};
  PlainLane plain_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  std::vector<std::unique_ptr<LaneSource>> lanes_;
};

TEST_F(GenerationBatchTest, ATextDoesNotDependOnWhatElseIsWritten) {
  const std::vector<Wish> wishes = Wishes();
  for (const kernels::Kernels* kernels : SupportedKernels()) {
    for (const auto arithmetic : {kernels::Arithmetic::kFp32, kernels::Arithmetic::kInt16}) {
      std::vector<std::vector<int32_t>> alone;
      for (const Wish& wish : wishes) {
        Generator generator(*model_, *kernels, &pool_, arithmetic, wish.lanes);
        std::vector<int32_t>& ids = alone.emplace_back();
        ASSERT_OK(generator.Generate(wish.prompt, wish.options, [&](int32_t id) { return ids.push_back(id), true; }));
      }
      ASSERT_FALSE(std::equal(alone[1].begin(), alone[1].end(), alone[0].begin())) << "an adapter changes the text";
      GenerationBatch batch(*model_, *kernels, &pool_, arithmetic);
      Texts together;
      std::vector<uint64_t> texts;
      const auto step = [&] {
        for (const auto& progress : batch.Step()) {
          if (progress.token) together[progress.text].push_back(*progress.token);
        }
      };
      for (const Wish& wish : wishes) {  // each joins those that have begun
        ASSERT_OK_AND_ASSIGN(const uint64_t text, batch.Add(wish.prompt, wish.options, wish.lanes));
        texts.push_back(text);
        step();
        step();
      }
      while (!batch.empty()) step();
      for (size_t i = 0; i < wishes.size(); ++i) EXPECT_EQ(together[texts[i]], alone[i]) << kernels->name << " " << i;
    }
  }
}

TEST_F(GenerationBatchTest, EveryTextSaysHowItEnded) {
  GenerationBatch batch(*model_, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  ASSERT_OK_AND_ASSIGN(const uint64_t first, batch.Add(std::vector<int32_t>{1, 403}, {.max_tokens = 2}, &plain_));
  std::vector<GenerationBatch::Progress> steps;
  while (!batch.empty()) steps.push_back(batch.Step().front());
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_EQ(steps[0].text, first);
  EXPECT_FALSE(steps[0].end.has_value());
  EXPECT_EQ(steps[1].end, GenerationBatch::End::kLength);
  SamplingOptions stops{.max_tokens = 9};
  stops.stop_tokens = {*steps[1].token};
  ASSERT_OK(batch.Add(std::vector<int32_t>{1, 403}, stops, &plain_));
  EXPECT_EQ(batch.Step().front().token, steps[0].token);
  const GenerationBatch::Progress last = batch.Step().front();
  EXPECT_FALSE(last.token.has_value());
  EXPECT_EQ(last.end, GenerationBatch::End::kStop);
  EXPECT_TRUE(batch.empty());
}

TEST_F(GenerationBatchTest, WhatIsRemovedIsWrittenNoMoreAndWhatIsRefusedLeavesNothing) {
  GenerationBatch batch(*model_, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  ASSERT_OK_AND_ASSIGN(const uint64_t gone, batch.Add(std::vector<int32_t>{1}, {.max_tokens = 9}, &plain_));
  ASSERT_OK_AND_ASSIGN(const uint64_t stays, batch.Add(std::vector<int32_t>{1}, {.max_tokens = 9}, &plain_));
  EXPECT_THAT(batch.Add({}, {}, &plain_), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0 tokens")));
  EXPECT_EQ(batch.Step().size(), 2u);
  batch.Remove(gone);
  const auto step = batch.Step();
  ASSERT_EQ(step.size(), 1u);
  EXPECT_EQ(step[0].text, stays);
}

}  // namespace
}  // namespace qzo::model
