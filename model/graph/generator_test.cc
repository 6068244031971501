#include "model/graph/generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "model/graph/forward.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tiny_model.h"

namespace qzo::model {
namespace {

using qzo::testing::LoadStories;
using qzo::testing::StatusIs;
using qzo::testing::SupportedKernels;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

class GeneratorTest : public ::testing::Test {
 protected:
  std::vector<int32_t> Generate(const kernels::Kernels& kernels, const std::vector<int32_t>& prompt,
                                const SamplingOptions& options) {
    Generator generator(*model_, kernels, &pool_, kernels::Arithmetic::kFp32, &lane_);
    std::vector<int32_t> ids;
    EXPECT_OK(generator.Generate(prompt, options, [&](int32_t id) {
      ids.push_back(id);
      return true;
    }));
    return ids;
  }
  std::vector<int32_t> Generate(const SamplingOptions& options) {
    return Generate(kernels::BestKernels(), {1, 403}, options);
  }

  std::unique_ptr<Model> model_ = LoadStories("F32");
  kernels::ThreadPool pool_{2};
  PlainLane lane_;
};

TEST_F(GeneratorTest, GreedyTextOfTheFloatModelIsThatOfTheReference) {
  std::ifstream file(qzo::testing::TestFile("golden/models/stories260k/reference.json"));
  const std::vector<int32_t> expected = nlohmann::json::parse(file).at("greedy_ids");
  ASSERT_EQ(expected.size(), 201u);
  for (const kernels::Kernels* kernels : SupportedKernels()) {
    std::vector<int32_t> ids = Generate(*kernels, {expected[0]}, {.max_tokens = 200});
    ids.insert(ids.begin(), expected[0]);
    EXPECT_THAT(ids, ElementsAreArray(expected)) << kernels->name;
  }
}

TEST_F(GeneratorTest, LogitsWithCacheAreThoseOfTheWholeSequenceBitForBit) {
  const std::vector<int32_t> ids = {1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298};
  const size_t vocabulary = static_cast<size_t>(model_->info().vocabulary);
  for (const kernels::Kernels* kernels : SupportedKernels()) {
    Engine engine(*model_, *kernels, &pool_, kernels::Arithmetic::kFp32);
    ASSERT_OK_AND_ASSIGN(const std::vector<float> expected, engine.Logits(ids, &lane_));
    Forward forward(*model_, *kernels, &pool_, kernels::Arithmetic::kFp32);
    KeyValueCache cache(model_->info());
    cache.Reserve(static_cast<int64_t>(ids.size()));
    size_t at = 0;
    for (const size_t count :
         {size_t{4}, size_t{1}, size_t{1}, size_t{5}}) {  // a prompt, two single tokens, a longer turn
      PassRows rows;
      for (size_t i = 0; i < count; ++i) {
        const int32_t position = static_cast<int32_t>(at + i);
        rows.tokens.push_back(ids[at + i]);
        rows.positions.push_back(position);
        rows.spans.push_back({0, 0, 0, position + 1});
        rows.kept.push_back(static_cast<int32_t>(i));
      }
      const int64_t n = static_cast<int64_t>(count);
      rows.lanes.push_back({.lane = 0, .begin = 0, .end = n, .kept_begin = 0, .kept_end = n});
      std::vector<float> logits(count * vocabulary);
      forward.Head(forward.Run(rows, &lane_, {&cache}), rows.lanes, &lane_, logits.data());
      EXPECT_TRUE(std::equal(logits.begin(), logits.end(), expected.begin() + static_cast<int64_t>(at * vocabulary)))
          << kernels->name << " at " << at;
      at += count;
    }
  }
}

TEST_F(GeneratorTest, ContinuesALongPromptInSeveralPassesAsInOne) {
  std::vector<int32_t> prompt = Generate({.max_tokens = 509});
  ASSERT_GE(prompt.size(), 505u);
  prompt.resize(505);
  Engine engine(*model_, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  ASSERT_OK_AND_ASSIGN(const std::vector<float> logits, engine.Logits(prompt, &lane_));
  const auto last = logits.end() - model_->info().vocabulary;
  const auto greedy = static_cast<int32_t>(std::max_element(last, logits.end()) - last);
  EXPECT_EQ(Generate(kernels::BestKernels(), prompt, {.max_tokens = 1}).front(), greedy);
}

TEST_F(GeneratorTest, TheSameSeedGivesTheSameTextAndAnotherSeedAnother) {
  const SamplingOptions options{.max_tokens = 40, .temperature = 1.0, .seed = 7};
  SamplingOptions other = options;
  other.seed = 8;
  EXPECT_EQ(Generate(options), Generate(options));
  EXPECT_NE(Generate(options), Generate(other));
}

TEST_F(GeneratorTest, OneCandidateIsTheGreedyOneAtAnyTemperature) {
  const std::vector<int32_t> greedy = Generate({.max_tokens = 30});
  EXPECT_EQ(Generate({.max_tokens = 30, .temperature = 5.0, .top_k = 1, .seed = 3}), greedy);
  EXPECT_EQ(Generate({.max_tokens = 30, .temperature = 5.0, .top_p = 1e-9, .seed = 3}), greedy);
}

TEST_F(GeneratorTest, TopKDrawsAmongTheKLikeliestAndNothingElse) {
  Engine engine(*model_, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  const std::vector<int32_t> prompt = {1};
  ASSERT_OK_AND_ASSIGN(const std::vector<float> logits, engine.Logits(prompt, &lane_));
  std::set<int32_t> drawn;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    drawn.insert(
        Generate(kernels::BestKernels(), prompt, {.max_tokens = 1, .temperature = 50.0, .top_k = 3, .seed = seed})
            .front());
  }
  ASSERT_EQ(drawn.size(), 3u);  // at this temperature each has about a third
  std::vector<float> sorted = logits;
  std::nth_element(sorted.begin(), sorted.begin() + 2, sorted.end(), std::greater<>());
  for (const int32_t id : drawn) EXPECT_GE(logits[static_cast<size_t>(id)], sorted[2]);
}

TEST_F(GeneratorTest, StopsAtAStopTokenWithoutEmittingItAndWhenEmitSaysSo) {
  const std::vector<int32_t> greedy = Generate({.max_tokens = 10});
  const std::vector<int32_t> stopped = Generate({.max_tokens = 10, .stop_tokens = {greedy[4]}});
  EXPECT_THAT(stopped, ElementsAreArray(greedy.begin(), std::find(greedy.begin(), greedy.end(), greedy[4])));
  Generator generator(*model_, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32, &lane_);
  int emitted = 0;
  EXPECT_OK(generator.Generate(std::vector<int32_t>{1}, {.max_tokens = 10}, [&](int32_t) { return ++emitted < 3; }));
  EXPECT_EQ(emitted, 3);
}

TEST_F(GeneratorTest, EndsWithTheContext) {
  std::vector<int32_t> ids = Generate({.max_tokens = 1000});
  // The last token emitted is predicted from a full context: 2 of the prompt, 510 that were fed back, 1 more.
  EXPECT_EQ(ids.size(), 511u);
}

TEST_F(GeneratorTest, RefusesWhatItCannotContinueOrSample) {
  Generator generator(*model_, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32, &lane_);
  const auto generate = [&](const std::vector<int32_t>& prompt, const SamplingOptions& options) {
    return generator.Generate(prompt, options, [](int32_t) { return true; });
  };
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(generate({}, {}), StatusIs(invalid, HasSubstr("a prompt of 0 tokens, expected 1 to")));
  EXPECT_THAT(generate(std::vector<int32_t>(513, 1), {}), StatusIs(invalid, HasSubstr("a prompt of 513 tokens")));
  EXPECT_THAT(generate({1, 512}, {}), StatusIs(invalid, HasSubstr("token 512 is outside the vocabulary of 512")));
  EXPECT_THAT(generate({1}, {.max_tokens = -1}), StatusIs(invalid, HasSubstr("max_tokens: -1")));
  EXPECT_THAT(generate({1}, {.temperature = -0.5}), StatusIs(invalid, HasSubstr("temperature: -0.5")));
  EXPECT_THAT(generate({1}, {.top_k = -2}), StatusIs(invalid, HasSubstr("top_k: -2")));
  EXPECT_THAT(generate({1}, {.top_p = 0}), StatusIs(invalid, HasSubstr("top_p: 0")));
}

}  // namespace
}  // namespace qzo::model
