// Losses against tests/reference/llama_reference.py: float64 numpy and a Philox of its own; log-probabilities against
// tests/reference/transformers_logprobs.py.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "model/graph/engine.h"
#include "model/graph/replica.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tiny_model.h"

namespace qzo::model {
namespace {

using nlohmann::json;
using qzo::testing::LoadStories;

// Relative error of a loss: 5 layers of fp32 sums of up to 172 products against float64, with room of an order of
// magnitude.
constexpr double kTolerance = 1e-5;

class LossesGoldenTest : public ::testing::TestWithParam<const char*> {
 protected:
  LossesGoldenTest() {
    std::ifstream file(qzo::testing::TestFile("golden/stories260k/losses.json"));
    const json golden = json::parse(file);
    expected_ = golden.at("models").at(GetParam());
    for (const json& row : golden.at("examples")) {
      const bool options = row.at("kind") == "classification";
      kinds_.push_back(options ? TaskKind::kClassification : TaskKind::kCompletion);
      examples_.push_back({.prompt = row.at("prompt"),
                           .branches = row.at("branches"),
                           .scored = options ? std::vector<uint8_t>() : row.at("scored").get<std::vector<uint8_t>>(),
                           .label = row.value("label", -1)});
    }
  }

  std::unique_ptr<Model> model_ = LoadStories(GetParam());
  kernels::ThreadPool pool_{2};
  json expected_;
  std::vector<TaskKind> kinds_;
  std::vector<Example> examples_;
};

TEST_P(LossesGoldenTest, LossesAndScoresAreThoseOfTheReference) {
  Engine engine(*model_, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  PlainLane plain;
  ASSERT_EQ(examples_.size(), 10u);
  size_t with_options = 0;
  for (size_t i = 0; i < examples_.size(); ++i) {
    const Example* one = &examples_[i];
    std::vector<ExampleLoss> losses;
    ASSERT_OK(engine.Losses(kinds_[i], {&one, 1}, &plain, &losses));
    const double expected = expected_.at("losses")[i];
    EXPECT_NEAR(losses[0].loss, expected, kTolerance * std::max(1.0, expected)) << i;
    if (kinds_[i] != TaskKind::kClassification) continue;
    ASSERT_OK_AND_ASSIGN(const std::vector<double> scores, engine.OptionScores(*one, &plain));
    const std::vector<double> expected_scores = expected_.at("scores")[with_options++];
    ASSERT_EQ(scores.size(), expected_scores.size());
    for (size_t option = 0; option < scores.size(); ++option) {
      EXPECT_NEAR(scores[option], expected_scores[option], kTolerance * std::max(1.0, -expected_scores[option])) << i;
    }
  }
  EXPECT_EQ(with_options, 5u);
}

// Options and answers of several tokens.
TEST_P(LossesGoldenTest, LogProbabilitiesAreThoseOfTransformers) {
  std::ifstream file(qzo::testing::TestFile("golden/stories260k/transformers.json"));
  const json golden = json::parse(file).at(GetParam());
  Engine engine(*model_, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  PlainLane plain;
  ASSERT_EQ(examples_.size(), golden.size());
  for (size_t i = 0; i < examples_.size(); ++i) {
    const Example* one = &examples_[i];
    if (kinds_[i] == TaskKind::kClassification) {
      ASSERT_OK_AND_ASSIGN(const std::vector<double> scores, engine.OptionScores(*one, &plain));
      for (size_t option = 0; option < scores.size(); ++option) {
        const std::vector<double> tokens = golden[i][option];
        double sum = 0;
        for (const double token : tokens) sum += token;
        const double expected = sum / static_cast<double>(tokens.size());
        EXPECT_NEAR(scores[option], expected, kTolerance * std::max(1.0, -expected)) << i << ", option " << option;
      }
    } else {
      const std::vector<double> tokens = golden[i][0];
      double expected = 0;
      for (size_t t = 0; t < tokens.size(); ++t) expected -= one->scored[t] != 0 ? tokens[t] : 0;
      std::vector<ExampleLoss> losses;
      ASSERT_OK(engine.Losses(kinds_[i], {&one, 1}, &plain, &losses));
      EXPECT_NEAR(losses[0].loss, expected, kTolerance * std::max(1.0, expected)) << i;
    }
  }
}

// Lanes of one step with the examples handed over as they are, which a dataset of text could not spell.
TEST_P(LossesGoldenTest, PerturbedLossesAndProjectedGradientsAreThoseOfTheReference) {
  std::vector<const Example*> batch;
  for (size_t i = 0; i < examples_.size(); ++i) {
    if (kinds_[i] == TaskKind::kClassification) batch.push_back(&examples_[i]);
  }
  Engine engine(*model_, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  for (const json& settings : expected_.at("perturbed")) {
    method::MethodSpec spec;
    spec.granularity =
        settings.at("granularity") == "group" ? method::Granularity::kGroup : method::Granularity::kChannel;
    const bool gaussian = settings.at("noise") == "gaussian";
    const float epsilon = settings.at("epsilon");
    const method::Partition partition(spec.granularity, model_->info().trained);
    const std::vector<float> ones(static_cast<size_t>(partition.multipliers()), 1.0f);
    for (uint32_t probe = 0; probe < 3; ++probe) {
      std::vector<std::vector<float>> lanes(2, ones);
      for (size_t ordinal = 0; ordinal < partition.tensors().size(); ++ordinal) {
        const method::PartitionTensor& tensor = partition.tensors()[ordinal];
        const kernels::NoiseKey key{.kind = gaussian ? kernels::NoiseKind::kGaussian : kernels::NoiseKind::kRademacher,
                                    .seed = settings.at("seed"),
                                    .step = settings.at("step"),
                                    .probe = probe,
                                    .tensor = static_cast<uint32_t>(ordinal)};
        for (size_t lane = 0; lane < 2; ++lane) {
          kernels::BestKernels().perturb(key, 0, tensor.count, ones.data() + tensor.offset, nullptr,
                                         lane == 0 ? epsilon : -epsilon, lanes[lane].data() + tensor.offset);
        }
      }
      qzo::testing::FlatLanes source(partition, std::move(lanes));
      std::vector<ExampleLoss> losses;
      ASSERT_OK(engine.Losses(TaskKind::kClassification, batch, &source, &losses));
      method::ItemLosses item{.count = static_cast<int64_t>(batch.size())};
      for (size_t i = 0; i < batch.size(); ++i) {
        item.plus += losses[i].loss;
        item.minus += losses[batch.size() + i].loss;
      }
      const json& expected = settings.at("probes")[probe];
      const double plus = expected.at("plus"), minus = expected.at("minus");
      EXPECT_NEAR(item.plus, plus, kTolerance * plus) << settings << " probe " << probe;
      EXPECT_NEAR(item.minus, minus, kTolerance * minus) << settings << " probe " << probe;
      // The bounds of both sums, divided as the difference is.
      const double bound = kTolerance * (plus + minus) / (2 * epsilon * static_cast<double>(item.count));
      EXPECT_NEAR(method::ProjectedGradient({&item, 1}, epsilon), expected.at("d"), bound)
          << settings << " probe " << probe;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Storage, LossesGoldenTest, ::testing::Values("F32", "Q4_1"),
                         [](const auto& storage) { return storage.param; });

}  // namespace
}  // namespace qzo::model
