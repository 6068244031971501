#include "model/graph/replica.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/parallel.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tiny_model.h"

namespace qzo::model {
namespace {

using qzo::testing::LoadBytes;
using qzo::testing::LoadStories;
using qzo::testing::MultipliedFile;
using qzo::testing::StatusIs;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kRows[] =
    "{\"t\": \"Lily loved to play\", \"label\": 1}\n{\"t\": \"The ball was red\", \"label\": 0}\n"
    "{\"t\": \"One day\", \"label\": 1}\n{\"t\": \"Tom was sad and did not know what to do\", \"label\": 0}\n"
    "{\"t\": \"She said\", \"label\": 1}\n{\"t\": \"He saw a big dog in the park\", \"label\": 1}\n"
    "{\"t\": \"Once upon a time\", \"label\": 0}\n{\"t\": \"I want to\", \"label\": 0}\n";

class ReplicaTest : public ::testing::Test {
 protected:
  ReplicaTest() {
    task_.prompt = "{t}.";
    task_.options = {" It was bad", " She was happy"};
    spec_.seed = 99;
    spec_.steps = 10;
    spec_.probes = 3;
    spec_.micro_batches = 2;
    spec_.batch_size = 4;
  }

  void Load(const std::string& storage) { Use(LoadStories(storage)); }
  void Use(std::unique_ptr<Model> model) {
    model_ = std::move(model);
    DatasetReport report;
    auto data = TaskDataset::Load(task_, model_->tokenizer(), kRows, "rows", &report);
    ASSERT_OK(data);
    data_.emplace(std::move(data).value());
    engine_.emplace(*model_, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  }
  std::unique_ptr<Replica> Make() {
    auto replica = Replica::Create(*model_, spec_, kernels::BestKernels(), &pool_);
    EXPECT_OK(replica);
    return std::move(replica).value();
  }
  std::vector<method::ItemLosses> Measure(Replica* replica, uint32_t first, uint32_t count) {
    const method::BatchOrder order(spec_, "digest", data_->rows_by_label());
    std::vector<method::ItemLosses> items;
    EXPECT_OK(replica->MeasureItems(&*engine_, task_, *data_, order, first, count, &items));
    return items;
  }
  // Σ loss of the rows of a micro-batch by a model whose weights were multiplied before, not on the fly.
  double ExplicitLoss(const Replica& replica, const std::vector<float>& multipliers, uint32_t micro_batch) {
    const std::string bytes = MultipliedFile(*model_, replica.partition(), multipliers);
    const std::unique_ptr<Model> multiplied = LoadBytes(bytes);
    Engine engine(*multiplied, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
    std::vector<const Example*> examples;
    const method::BatchOrder order(spec_, "digest", data_->rows_by_label());
    for (const int32_t row : order.Rows(replica.step(), micro_batch)) examples.push_back(&data_->example(row));
    PlainLane plain;
    std::vector<ExampleLoss> losses;
    EXPECT_OK(engine.Losses(task_.kind, examples, &plain, &losses));
    return std::accumulate(losses.begin(), losses.end(), 0.0,
                           [](double sum, const ExampleLoss& l) { return sum + l.loss; });
  }
  // k + sign · ε · u · z of a probe, written out.
  std::vector<float> Perturbed(const Replica& replica, uint32_t probe, double sign) {
    std::vector<float> k(replica.multipliers().begin(), replica.multipliers().end());
    for (size_t ordinal = 0; ordinal < replica.partition().tensors().size(); ++ordinal) {
      const method::PartitionTensor& tensor = replica.partition().tensors()[ordinal];
      std::vector<float> z(static_cast<size_t>(tensor.count));
      const bool gaussian = spec_.noise == method::Noise::kGaussian;
      kernels::Noise(kernels::BestKernels(), pool_,
                     {.kind = gaussian ? kernels::NoiseKind::kGaussian : kernels::NoiseKind::kRademacher,
                      .seed = spec_.seed,
                      .step = replica.step(),
                      .probe = probe,
                      .tensor = static_cast<uint32_t>(ordinal)},
                     0, tensor.count, z.data());
      std::vector<float> units(z.size(), 1.0f);
      if (spec_.mode == method::Mode::kAbsolute) units = *model_->Units(static_cast<int>(ordinal), spec_.granularity);
      for (size_t i = 0; i < z.size(); ++i) {
        float& value = k[static_cast<size_t>(tensor.offset) + i];
        value = static_cast<float>(value + sign * spec_.epsilon * units[i] * z[i]);
      }
    }
    return k;
  }
  void ExpectItemsAreThoseOfExplicitWeights() {
    const std::unique_ptr<Replica> replica = Make();
    const float c = spec_.epsilon;
    ASSERT_OK(replica->Apply({c, -2 * c, c / 2}));  // so that the multipliers are not ones
    const std::vector<method::ItemLosses> items = Measure(replica.get(), 0, spec_.items());
    for (const uint32_t item : {0u, 3u, 5u}) {
      const double plus = ExplicitLoss(*replica, Perturbed(*replica, item / 2, 1), item % 2);
      const double minus = ExplicitLoss(*replica, Perturbed(*replica, item / 2, -1), item % 2);
      // Rounding w · k once more moves each weight by up to 2^-24 of itself, far less than ε does.
      EXPECT_NEAR(items[item].plus, plus, 2e-5 * plus);
      EXPECT_NEAR(items[item].minus, minus, 2e-5 * minus);
      EXPECT_GT(std::abs(plus - minus), 1e-4) << "an epsilon that moves nothing proves nothing";
      EXPECT_EQ(items[item].count, 2);
    }
  }

  kernels::ThreadPool pool_{2};
  TaskSpec task_;
  method::MethodSpec spec_;
  std::unique_ptr<Model> model_;
  std::optional<TaskDataset> data_;
  std::optional<Engine> engine_;
};

TEST_F(ReplicaTest, BeginsAtStepZeroWithOnes) {
  Load("Q4_1");
  const std::unique_ptr<Replica> replica = Make();
  EXPECT_EQ(replica->step(), 0u);
  EXPECT_EQ(static_cast<int64_t>(replica->multipliers().size()), replica->partition().multipliers());
  EXPECT_THAT(replica->multipliers(), Each(1.0f));
  EXPECT_EQ(replica->digest(), method::ReplicaDigest(replica->partition(), replica->multipliers()));
}

TEST_F(ReplicaTest, ApplyingTheSameCoefficientsGivesTheSameReplicaWhateverTheKernelsAndThreads) {
  Load("Q4_1");
  for (const auto granularity : {method::Granularity::kChannel, method::Granularity::kGroup}) {
    spec_.granularity = granularity;
    const std::unique_ptr<Replica> expected = Make();
    ASSERT_OK(expected->Apply({0.5f, 0, -0.25f}));
    ASSERT_OK(expected->Apply({0.125f, 0.1f, 0.3f}));
    for (const kernels::Kernels* kernels : qzo::testing::SupportedKernels()) {
      for (const int threads : {1, 3}) {
        kernels::ThreadPool pool(threads);
        ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Replica> replica, Replica::Create(*model_, spec_, *kernels, &pool));
        const uint64_t before = replica->digest();
        ASSERT_OK(replica->Apply({0.5f, 0, -0.25f}));
        EXPECT_NE(replica->digest(), before);
        ASSERT_OK(replica->Apply({0.125f, 0.1f, 0.3f}));
        EXPECT_EQ(replica->step(), 2u);
        EXPECT_EQ(replica->digest(), expected->digest()) << kernels->name << ", " << threads << " threads";
      }
    }
  }
}

TEST_F(ReplicaTest, AppliesTheNoiseThatItMeasured) {
  Load("Q4_1");
  spec_.epsilon = 0.5f;
  const std::unique_ptr<Replica> replica = Make();
  const std::vector<float> expected = Perturbed(*replica, 1, -1);
  ASSERT_OK(replica->Apply({0, 0.5f, 0}));
  EXPECT_EQ(std::vector<float>(replica->multipliers().begin(), replica->multipliers().end()), expected);
}

TEST_F(ReplicaTest, RestoredReplicaGoesOnAsTheOneItWasTakenFrom) {
  Load("Q4_1");
  const std::unique_ptr<Replica> first = Make(), second = Make();
  ASSERT_OK(first->Apply({0.5f, 0, -0.25f}));
  ASSERT_OK(second->Restore(first->step(), first->multipliers()));
  EXPECT_EQ(second->step(), 1u);
  EXPECT_EQ(second->digest(), first->digest());
  EXPECT_EQ(Measure(second.get(), 0, 6), Measure(first.get(), 0, 6));
  ASSERT_OK(first->Apply({0.1f, 0.2f, 0.3f}));
  ASSERT_OK(second->Apply({0.1f, 0.2f, 0.3f}));
  EXPECT_EQ(second->digest(), first->digest());
  second->Reset();
  EXPECT_EQ(second->step(), 0u);
  EXPECT_THAT(second->multipliers(), Each(1.0f));
  EXPECT_EQ(second->digest(), Make()->digest());
}

TEST_F(ReplicaTest, RefusesCoefficientsAndMultipliersThatDoNotFit) {
  Load("Q4_1");
  const std::unique_ptr<Replica> replica = Make();
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(replica->Apply({0.5f}), StatusIs(invalid, HasSubstr("1 coefficients at step 0, expected 3")));
  EXPECT_THAT(replica->Apply({0.5f, std::numeric_limits<float>::quiet_NaN(), 0}),
              StatusIs(invalid, HasSubstr("not finite")));
  EXPECT_THAT(replica->Restore(3, {1.0f, 2.0f}),
              StatusIs(invalid, HasSubstr("2 multipliers, expected the partition's")));
  std::vector<float> multipliers(replica->multipliers().size(), 1.0f);
  multipliers[7] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(replica->Restore(3, multipliers), StatusIs(invalid, HasSubstr("multiplier 7 is inf")));
  EXPECT_EQ(replica->step(), 0u);
  EXPECT_THAT(replica->multipliers(), Each(1.0f));
}

TEST_F(ReplicaTest, ItemsMeasuredTogetherAreThoseMeasuredOneByOneBitForBit) {
  Load("Q4_1");
  for (const auto granularity : {method::Granularity::kChannel, method::Granularity::kGroup}) {
    spec_.granularity = granularity;
    const std::unique_ptr<Replica> replica = Make();
    const std::vector<method::ItemLosses> all = Measure(replica.get(), 0, spec_.items());
    ASSERT_EQ(all.size(), 6u);
    for (uint32_t item = 0; item < 6; ++item) EXPECT_EQ(Measure(replica.get(), item, 1).at(0), all[item]) << item;
    EXPECT_EQ(Measure(replica.get(), 1, 4), std::vector<method::ItemLosses>(all.begin() + 1, all.begin() + 5));
    EXPECT_THAT(Measure(replica.get(), 6, 0), ElementsAre());
    EXPECT_NE(all[0], all[1]);  // another micro-batch
    EXPECT_NE(all[0], all[2]);  // another probe
    ASSERT_OK(replica->Apply({0, 0, 0}));
    EXPECT_NE(Measure(replica.get(), 0, 1).at(0), all[0]);  // another step: other rows and noise
  }
}

TEST_F(ReplicaTest, RefusesItemsThatTheStepDoesNotHave) {
  Load("Q4_1");
  const std::unique_ptr<Replica> replica = Make();
  const method::BatchOrder order(spec_, "digest", data_->rows_by_label());
  std::vector<method::ItemLosses> items;
  EXPECT_THAT(replica->MeasureItems(&*engine_, task_, *data_, order, 5, 2, &items),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("items [5, 7) of a step with 6")));
}

TEST_F(ReplicaTest, ItemsOfChannelMultipliersAreThoseOfExplicitWeights) {
  Load("Q4_1");
  ExpectItemsAreThoseOfExplicitWeights();
}

TEST_F(ReplicaTest, ItemsOfGroupMultipliersAreThoseOfExplicitWeights) {
  spec_.granularity = method::Granularity::kGroup;
  spec_.noise = method::Noise::kGaussian;
  Load("Q8_0");
  ExpectItemsAreThoseOfExplicitWeights();
}

// stories260K cut to a feed-forward length of 160, so that every trained tensor has scales: 172 is no multiple of 32,
// and ffn_down is F16 for that. Its blocks become those of ffn_gate. The first block of blk.0.attn_v has the scale 0.
std::string ModelWithScalesEverywhere() {
  const std::unique_ptr<Model> stories = LoadStories("Q4_1");
  qzo::testing::GgufBuilder builder;
  qzo::testing::CopyKeys(stories->file(), &builder, "llama.feed_forward_length");
  builder.Uint32("llama.feed_forward_length", 160);
  for (const GgufTensor& tensor : stories->file().tensors()) {
    std::vector<uint64_t> dims(tensor.dims.begin(), tensor.dims.end());
    std::string bytes(tensor.bytes);
    GgmlType type = tensor.type;
    const size_t part = tensor.name.find("ffn_down");
    if (dims.size() == 2 && dims[1] == 172) dims[1] = 160;
    if (part != std::string::npos) {
      bytes = stories->file().FindTensor(tensor.name.substr(0, part) + "ffn_gate.weight")->bytes;
      dims = {160, 64};
      type = GgmlType::kQ4_1;
    }
    if (dims.size() == 2 && type == GgmlType::kQ4_1) bytes.resize(dims[0] * dims[1] / 32 * 20);
    if (tensor.name == "blk.0.attn_v.weight") bytes[0] = bytes[1] = 0;
    builder.Tensor(tensor.name, type, dims, bytes);
  }
  return builder.Finish();
}

TEST_F(ReplicaTest, AbsoluteModeMovesTheStoredScaleByEpsilon) {
  const std::string bytes = ModelWithScalesEverywhere();
  Use(LoadBytes(bytes));
  spec_.mode = method::Mode::kAbsolute;
  spec_.granularity = method::Granularity::kGroup;
  spec_.epsilon = 1e-3f;
  spec_.noise = method::Noise::kGaussian;
  ExpectItemsAreThoseOfExplicitWeights();
  const std::unique_ptr<Replica> replica = Make();
  const std::vector<float> expected = Perturbed(*replica, 1, -1);
  ASSERT_OK(replica->Apply({0, 1e-3f, 0}));
  const size_t zero_scale = static_cast<size_t>(replica->partition().tensors()[2].offset);
  EXPECT_EQ(replica->multipliers()[zero_scale], 1.0f);
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(replica->multipliers()[i], expected[i], 1e-6 * std::abs(expected[i]));
}

TEST_F(ReplicaTest, AbsoluteModeNeedsAScaleForEveryMultiplier) {
  spec_.mode = method::Mode::kAbsolute;
  spec_.granularity = method::Granularity::kGroup;
  Load("Q4_1");
  const auto create = [&] { return Replica::Create(*model_, spec_, kernels::BestKernels(), &pool_).status(); };
  EXPECT_THAT(create(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'blk.0.ffn_down.weight' (F16) has no scales")));
  spec_.granularity = method::Granularity::kChannel;
  EXPECT_THAT(create(), StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("'blk.0.attn_q.weight' (Q4_1) has several scales")));
}

TEST_F(ReplicaTest, EvaluationSumsLossesAndCountsPredictions) {
  Load("Q4_1");
  const std::unique_ptr<Replica> replica = Make();
  ASSERT_OK(replica->Apply({0.5f, 0, -0.25f}));
  const std::vector<int32_t> rows = {0, 2, 3, 6};
  ASSERT_OK_AND_ASSIGN(const EvalSums sums, replica->EvaluateRows(&*engine_, task_, *data_, rows));
  EXPECT_EQ(sums.rows, 4);
  EXPECT_EQ(sums.loss_count, 4);
  EXPECT_EQ(std::accumulate(sums.confusion.begin(), sums.confusion.end(), int64_t{0}), 4);
  EXPECT_EQ(sums.confusion[0] + sums.confusion[1], 2);  // rows 3 and 6 have label 0
  double loss = 0;
  const std::unique_ptr<LaneSource> lane = replica->CurrentLane();
  for (const int32_t row : rows) {
    const Example* one = &data_->example(row);
    std::vector<ExampleLoss> losses;
    ASSERT_OK(engine_->Losses(task_.kind, {&one, 1}, lane.get(), &losses));
    loss += losses[0].loss;
  }
  EXPECT_EQ(sums.loss_sum, loss);
  const std::vector<int32_t> outside = {8};
  EXPECT_THAT(replica->EvaluateRows(&*engine_, task_, *data_, outside),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 8 of a dataset of 8")));
}

}  // namespace
}  // namespace qzo::model
