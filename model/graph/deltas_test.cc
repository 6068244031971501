// Unquantized tensors trained by deltas: what lanes see, what a step does, and that neither depends on who computes it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "base/fs.h"
#include "kernels/parallel.h"
#include "kernels/weights.h"
#include "method/batch_order.h"
#include "method/rule.h"
#include "model/graph/generation_batch.h"
#include "model/graph/replica.h"
#include "tests/support/safetensors_builder.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_model.h"

namespace qzo::model {
namespace {

using qzo::testing::FlatLanes;
using qzo::testing::OpenFiles;
using qzo::testing::StatusIs;
using qzo::testing::SupportedKernels;
using qzo::testing::TestFile;
using qzo::testing::TinyCheckpoint;
using ::testing::HasSubstr;

using Files = std::map<std::string, std::string>;

constexpr char kRows[] =
    "{\"t\":\"aab\",\"label\":0}\n{\"t\":\"bba\",\"label\":1}\n{\"t\":\"abaa\",\"label\":0}\n"
    "{\"t\":\"bbb\",\"label\":1}\n";

method::Partition ScalesOf(const Model& model, const method::MethodSpec& spec) {
  return method::Partition(spec.granularity, model.info().trained);
}

// Two layers of a checkpoint: "aqlm16", or the golden one of an architecture, plain floats all of it.
class DeltasTest : public ::testing::TestWithParam<std::string> {
 protected:
  DeltasTest() {
    task_.prompt = "{t}";
    task_.options = {"a", "bab"};
    spec_.seed = 5;
    spec_.steps = 20;
    spec_.probes = 2;
    spec_.batch_size = 4;
    spec_.epsilon = 0.01f;
    spec_.train_unquantized = true;
    spec_.delta_unit = 0.5f;
  }

  void SetUp() override {
    const std::string name = GetParam();
    if (name.starts_with("aqlm")) {
      files_ = TinyCheckpoint("aqlm", std::stoi(name.substr(4)), false, 2).Files();
      tokenizer_ = "golden/models/stories260k/stories260K-F32.gguf";
      spec_.granularity = method::Granularity::kGroup;
      spec_.mode = method::Mode::kAbsolute;
      spec_.noise = method::Noise::kGaussian;
    } else {
      for (const char* file : {"config.json", "model.safetensors"}) {
        ASSERT_OK_AND_ASSIGN(files_[file],
                             base::RealFileSystem()->Read(TestFile("golden/architectures/" + name + "/" + file)));
      }
      tokenizer_ = "golden/architectures/" + name + "/model.gguf";
    }
    model_ = Load(files_);
    DatasetReport report;
    auto data = TaskDataset::Load(task_, model_->tokenizer(), kRows, "rows", &report);
    ASSERT_OK(data);
    data_.emplace(*std::move(data));
  }

  std::unique_ptr<Model> Load(const Files& files) const {
    const auto gguf = GgufFile::Open(TestFile(tokenizer_));
    auto tokenizer = MakeTokenizer(**gguf);
    auto checkpoint = OpenFiles(files);
    EXPECT_OK(checkpoint);
    auto model = Model::Load(*std::move(checkpoint), *std::move(tokenizer));
    EXPECT_OK(model);
    return *std::move(model);
  }
  std::unique_ptr<Replica> Make(const kernels::Kernels& kernels) {
    auto replica = Replica::Create(*model_, spec_, kernels, &pool_);
    EXPECT_OK(replica);
    return *std::move(replica);
  }
  std::vector<method::ItemLosses> Measure(Replica* replica, Engine* engine, uint32_t first, uint32_t count) {
    const method::BatchOrder order(spec_, "digest", data_->rows_by_label());
    std::vector<method::ItemLosses> items;
    EXPECT_OK(replica->MeasureItems(engine, task_, *data_, order, first, count, &items));
    return items;
  }
  std::vector<float> Step(Replica* replica, Engine* engine, method::RuleState* state) {
    std::vector<float> d;
    for (const method::ItemLosses& item : Measure(replica, engine, 0, spec_.items())) {
      d.push_back(method::ProjectedGradient({&item, 1}, spec_.epsilon));
    }
    const std::vector<float> coefficients = method::Coefficients(spec_, replica->step(), d, state);
    EXPECT_OK(replica->Apply(coefficients));
    return coefficients;
  }
  double Loss(Replica* replica, Engine* engine) {
    auto sums = replica->EvaluateRows(engine, task_, *data_, std::vector<int32_t>{0, 1, 2, 3});
    EXPECT_OK(sums);
    return sums->loss_sum;
  }

  // The values of the partition that the lane (probe, sign) sees, written out.
  std::vector<float> Perturbed(const Replica& replica, uint32_t probe, float sign) {
    std::vector<float> values(replica.multipliers().begin(), replica.multipliers().end());
    int multiplied = 0;
    for (const method::PartitionTensor& tensor : replica.partition().tensors()) {
      std::vector<float> z(static_cast<size_t>(tensor.count));
      const bool gaussian = spec_.noise == method::Noise::kGaussian;
      kernels::Noise(*SupportedKernels().front(), pool_,
                     {.kind = gaussian ? kernels::NoiseKind::kGaussian : kernels::NoiseKind::kRademacher,
                      .seed = spec_.seed,
                      .step = replica.step(),
                      .probe = probe,
                      .tensor = tensor.ordinal},
                     0, tensor.count, z.data());
      std::vector<float> units(z.size(), 1.0f);
      if (tensor.shape.deltas) {
        units.assign(z.size(), spec_.delta_unit);
      } else if (spec_.mode == method::Mode::kAbsolute) {
        units = *model_->Units(multiplied, spec_.granularity);
      }
      if (!tensor.shape.deltas) ++multiplied;
      for (size_t i = 0; i < z.size(); ++i) {
        float& value = values[static_cast<size_t>(tensor.offset) + i];
        value = std::fma(sign * spec_.epsilon * units[i], z[i], value);
      }
    }
    return values;
  }
  // The checkpoint with the deltas of `values` added to its tensors, as F32.
  Files WithDeltas(const method::Partition& partition, const std::vector<float>& values) const {
    std::map<std::string, const method::PartitionTensor*> added;
    for (const method::PartitionTensor& tensor : partition.tensors()) {
      if (tensor.shape.deltas) added[tensor.shape.name] = &tensor;
    }
    testing::SafetensorsBuilder builder;
    for (const SafetensorsTensor& tensor : model_->checkpoint().tensors()) {
      const std::string type(SafetensorsTypeName(tensor.type));
      const auto at = added.find(tensor.name);
      if (at == added.end()) {
        builder.Tensor(tensor.name, type, tensor.dims, std::string(tensor.bytes));
        continue;
      }
      std::vector<float> sums(static_cast<size_t>(at->second->count));
      kernels::DequantizeRow({.type = *kernels::FindWeightType(type),
                              .data = reinterpret_cast<const std::byte*>(tensor.bytes.data()),
                              .rows = 1,
                              .cols = at->second->count},
                             0, sums.data());
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += values[static_cast<size_t>(at->second->offset) + i];
      builder.Values(tensor.name, "F32", tensor.dims, sums);
      added.erase(at);
    }
    EXPECT_TRUE(added.empty()) << added.begin()->first;
    Files files = {{"model.safetensors", builder.Finish()}};
    files["config.json"] = files_.at("config.json");
    return files;
  }
  static std::vector<float> Multipliers(const method::Partition& partition, const std::vector<float>& values) {
    std::vector<float> multipliers;
    for (const method::PartitionTensor& tensor : partition.tensors()) {
      const auto begin = values.begin() + tensor.offset;
      if (!tensor.shape.deltas) multipliers.insert(multipliers.end(), begin, begin + tensor.count);
    }
    return multipliers;
  }
  // Σ loss of the step's rows by a model whose tensors hold the deltas.
  double ExplicitLoss(const Replica& replica, const std::vector<float>& values, const kernels::Kernels& kernels,
                      kernels::Arithmetic arithmetic) {
    const Files files = WithDeltas(replica.partition(), values);
    const std::unique_ptr<Model> model = Load(files);
    const method::Partition scales = ScalesOf(*model, spec_);
    FlatLanes lane(scales, {Multipliers(replica.partition(), values)});
    Engine engine(*model, kernels, &pool_, arithmetic);
    const method::BatchOrder order(spec_, "digest", data_->rows_by_label());
    std::vector<const Example*> examples;
    for (const int32_t row : order.Rows(replica.step(), 0)) examples.push_back(&data_->example(row));
    std::vector<ExampleLoss> losses;
    EXPECT_OK(engine.Losses(task_.kind, examples, &lane, &losses));
    double sum = 0;
    for (const ExampleLoss& loss : losses) sum += loss.loss;
    return sum;
  }

  kernels::ThreadPool pool_{2};
  TaskSpec task_;
  method::MethodSpec spec_;
  Files files_;
  std::string tokenizer_;
  std::unique_ptr<Model> model_;
  std::optional<TaskDataset> data_;
};

TEST_P(DeltasTest, LanesAreThoseOfAModelWhoseTensorsHoldThem) {
  for (const kernels::Kernels* kernels : SupportedKernels()) {
    for (const auto arithmetic : {kernels::Arithmetic::kFp32, kernels::Arithmetic::kInt16}) {
      const std::unique_ptr<Replica> replica = Make(*kernels);
      ASSERT_OK(replica->Apply({0.03f, -0.02f}));
      Engine engine(*model_, *kernels, &pool_, arithmetic);
      const std::vector<method::ItemLosses> items = Measure(replica.get(), &engine, 0, 2);
      for (uint32_t probe = 0; probe < 2; ++probe) {
        const double plus = ExplicitLoss(*replica, Perturbed(*replica, probe, 1), *kernels, arithmetic);
        const double minus = ExplicitLoss(*replica, Perturbed(*replica, probe, -1), *kernels, arithmetic);
        // Gemma adds 1 to stored norm weights: before the deltas, or after them.
        const double bound = GetParam().starts_with("gemma") ? 1e-3 : 0;
        EXPECT_NEAR(items[probe].plus, plus, bound) << kernels->name;
        EXPECT_NEAR(items[probe].minus, minus, bound) << kernels->name;
        EXPECT_GT(std::abs(plus - minus), 1e-3) << "an epsilon that moves nothing proves nothing";
      }
      const std::vector<float> now(replica->multipliers().begin(), replica->multipliers().end());
      const double expected = ExplicitLoss(*replica, now, *kernels, arithmetic);
      EXPECT_NEAR(Loss(replica.get(), &engine), expected, 1e-3) << "of the deltas as they are";
    }
  }
}

TEST_P(DeltasTest, TwentyStepsLowerTheLoss) {
  spec_.learning_rate = spec_.mode == method::Mode::kAbsolute ? 2e-3 : 1e-2;
  const kernels::Kernels& kernels = kernels::BestKernels();
  const std::unique_ptr<Replica> replica = Make(kernels);
  Engine engine(*model_, kernels, &pool_, kernels::Arithmetic::kInt16);
  const double before = Loss(replica.get(), &engine);
  method::RuleState state;
  while (replica->step() < spec_.steps) Step(replica.get(), &engine, &state);
  EXPECT_LT(Loss(replica.get(), &engine), 0.9 * before);

  // The deltas alone, without the multipliers that were trained beside them.
  std::vector<float> values = replica->partition().InitialValues();
  for (const method::PartitionTensor& tensor : replica->partition().tensors()) {
    const auto begin = replica->multipliers().begin() + tensor.offset;
    if (tensor.shape.deltas) std::copy(begin, begin + tensor.count, values.begin() + tensor.offset);
  }
  ASSERT_OK(replica->Restore(replica->step(), values));
  EXPECT_LT(Loss(replica.get(), &engine), before);
}

TEST_P(DeltasTest, EveryVariantAndNumberOfThreadsMakesTheSameJournalAndAReplayTheSameDeltas) {
  spec_.steps = 3;
  std::vector<std::vector<float>> journal;
  std::vector<uint64_t> digests;
  for (const kernels::Kernels* kernels : SupportedKernels()) {
    for (const int threads : {1, 3}) {
      kernels::ThreadPool pool(threads);
      Engine engine(*model_, *kernels, &pool, kernels::Arithmetic::kInt16, /*max_rows=*/threads == 1 ? 512 : 9);
      ASSERT_OK_AND_ASSIGN(const auto replica, Replica::Create(*model_, spec_, *kernels, &pool));
      method::RuleState state;
      for (uint32_t step = 0; step < spec_.steps; ++step) {
        const std::vector<float> coefficients = Step(replica.get(), &engine, &state);
        EXPECT_NE(coefficients[0], 0) << "a step that moves nothing proves nothing";
        if (journal.size() == step) journal.push_back(coefficients), digests.push_back(replica->digest());
        EXPECT_EQ(coefficients, journal[step]) << kernels->name << " " << threads;
        EXPECT_EQ(replica->digest(), digests[step]) << kernels->name << " " << threads;
      }
    }
  }
  const std::unique_ptr<Replica> replayed = Make(*SupportedKernels().front());
  ASSERT_OK(replayed->Apply(journal[0]));
  const std::unique_ptr<Replica> late = Make(kernels::BestKernels());
  ASSERT_OK(late->Restore(1, replayed->multipliers()));
  for (size_t step = 1; step < journal.size(); ++step) {
    ASSERT_OK(replayed->Apply(journal[step]));
    ASSERT_OK(late->Apply(journal[step]));
  }
  EXPECT_EQ(replayed->digest(), digests.back());
  EXPECT_EQ(late->digest(), digests.back()) << "from a snapshot";
  late->Reset();
  EXPECT_EQ(late->digest(), Make(kernels::BestKernels())->digest());
}

TEST_P(DeltasTest, AnItemDoesNotDependOnThoseMeasuredWithIt) {
  const std::unique_ptr<Replica> replica = Make(kernels::BestKernels());
  ASSERT_OK(replica->Apply({0.03f, -0.02f}));
  Engine engine(*model_, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  const std::vector<method::ItemLosses> all = Measure(replica.get(), &engine, 0, 2);
  for (uint32_t item = 0; item < 2; ++item) EXPECT_EQ(Measure(replica.get(), &engine, item, 1)[0], all[item]);
}

TEST_P(DeltasTest, TextsOfAdaptersWithAndWithoutThemAreWrittenTogether) {
  const std::unique_ptr<Replica> replica = Make(kernels::BestKernels());
  ASSERT_OK(replica->Apply({0.3f, -0.2f}));
  method::MethodSpec scales_spec = spec_;
  scales_spec.train_unquantized = false;
  ASSERT_OK_AND_ASSIGN(const auto scales, Replica::Create(*model_, scales_spec, kernels::BestKernels(), &pool_));
  const auto with = replica->CurrentLane(), without = scales->CurrentLane();
  const std::vector<int32_t> prompt = {1, 3, 5, 2};
  const SamplingOptions options{.max_tokens = 8};
  const auto write = [&](const std::vector<LaneSource*>& lanes) {
    GenerationBatch batch(*model_, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
    std::map<uint64_t, std::vector<int32_t>> texts;
    for (LaneSource* lane : lanes) texts[*batch.Add(prompt, options, lane)];
    while (!batch.empty()) {
      for (const GenerationBatch::Progress& progress : batch.Step()) {
        if (progress.token) texts[progress.text].push_back(*progress.token);
      }
    }
    std::vector<std::vector<int32_t>> written;
    for (const auto& [id, tokens] : texts) written.push_back(tokens);
    return written;
  };
  const std::vector<std::vector<int32_t>> together = write({with.get(), without.get(), with.get()});
  EXPECT_EQ(together[0], write({with.get()})[0]);
  EXPECT_EQ(together[1], write({without.get()})[0]);
  EXPECT_EQ(together[2], together[0]);

  const std::vector<float> now(replica->multipliers().begin(), replica->multipliers().end());
  const Files files = WithDeltas(replica->partition(), now);
  const std::unique_ptr<Model> added = Load(files);
  const method::Partition partition = ScalesOf(*added, spec_);
  FlatLanes lane(partition, {Multipliers(replica->partition(), now)});
  Engine expected(*added, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  Engine engine(*model_, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  ASSERT_OK_AND_ASSIGN(const std::vector<float> logits, engine.Logits(prompt, with.get()));
  ASSERT_OK_AND_ASSIGN(const std::vector<float> of_tensors, expected.Logits(prompt, &lane));
  ASSERT_EQ(logits.size(), of_tensors.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    ASSERT_NEAR(logits[i], of_tensors[i], GetParam().starts_with("gemma") ? 1e-3 : 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, DeltasTest,
                         ::testing::Values("aqlm16", "aqlm28", "aqlm8", "llama", "mistral", "qwen2", "qwen3", "gemma2",
                                           "gemma3", "phi3", "opt", "gpt2"),
                         [](const auto& param_info) { return param_info.param; });

TEST(TrainedBy, OrdersTensorsSoThatStagesHoldSlices) {
  ASSERT_OK_AND_ASSIGN(const auto model, Model::Load(TestFile("golden/architectures/llama/model.gguf")));
  const ModelInfo& info = model->info();
  method::MethodSpec spec;
  EXPECT_EQ(info.TrainedBy(spec), info.trained);
  spec.train_unquantized = true;
  EXPECT_EQ(info.FindUnquantized("token_embd.weight"), -1) << "Q4_0: not unquantized";
  const method::Partition whole = info.PartitionFor(spec);
  std::vector<std::string> names;
  for (const method::PartitionTensor& tensor : whole.tensors()) {
    if (tensor.shape.deltas) names.push_back(tensor.shape.name);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"blk.0.attn_norm.weight", "blk.0.ffn_norm.weight",
                                             "blk.1.attn_norm.weight", "blk.1.ffn_norm.weight", "output_norm.weight"}));
  EXPECT_EQ(whole.deltas(), 5 * info.embedding_length);
  const method::Partition first = info.PartitionFor(spec, 0, 1), second = info.PartitionFor(spec, 1, 2);
  EXPECT_EQ(first.values() + second.values(), whole.values());
  EXPECT_EQ(second.first_value(), first.values());
  EXPECT_EQ(second.added(info.FindUnquantized("output_norm.weight")).ordinal, whole.tensors().back().ordinal);
  EXPECT_EQ(second.multiplied(info.trained_per_layer()).shape, info.trained[7]);
}

TEST(TrainedBy, AnEmbeddingThatIsTheHeadHasDeltasOnceAndIsNotCut) {
  method::MethodSpec spec;
  spec.steps = 1;
  spec.train_unquantized = true;
  const std::unique_ptr<Model> whole = testing::LoadStories("F32");
  ASSERT_TRUE(whole->info().embedding_shared());
  kernels::ThreadPool pool(1);
  ASSERT_OK(Replica::Create(*whole, spec, kernels::BestKernels(), &pool));
  ASSERT_OK_AND_ASSIGN(const auto part, Model::Load(whole->path(), {0, 2}));
  EXPECT_THAT(Replica::Create(*part, spec, kernels::BestKernels(), &pool),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is the head, too")));
}

}  // namespace
}  // namespace qzo::model
