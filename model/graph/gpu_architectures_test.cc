// Blocks other than Llama's, and codebooks, on the GPU of the tests: against the processor's passes, which are held to
// the logits of transformers (architectures_test.cc).
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "base/fs.h"
#include "kernels/cuda/test_gpu.h"
#include "model/graph/gpu_passes.h"
#include "tests/support/directed_lanes.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"

namespace qzo::model {
namespace {

using ::qzo::testing::DirectedLanes;
using ::qzo::testing::StatusIs;
using ::qzo::testing::TinyCheckpoint;

std::unique_ptr<Model> LoadGguf(const std::string& name) {
  auto model = Model::Load(testing::TestFile("golden/architectures/" + name + "/model.gguf"));
  EXPECT_OK(model);
  return model.ok() ? *std::move(model) : nullptr;
}

std::vector<int32_t> Ids() {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 14; ++i) ids.push_back((7 * i * i + 3 * i + 1) % 96);
  return ids;
}

// In units of the largest expected value.
double LargestError(const std::vector<float>& got, const std::vector<float>& expected) {
  double error = 0, largest = 0;
  EXPECT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::fabs(double{expected[i]}));
    error = std::max(error, std::fabs(double{got[i]} - double{expected[i]}));
  }
  EXPECT_GT(largest, 0.5);
  return error / largest;
}

// Rounding an input to bfloat16 costs up to 2⁻⁹ of each value. Eight are rounded in each of the two blocks: what the
// seven products take, and the weights of attention; of AQLM's one block also the entries of seven codebooks.
constexpr double kBound = 16 * 0x1p-9;

class GpuArchitectures : public kernels::cuda::OnTestGpu<> {
 protected:
  std::unique_ptr<Engine> GpuEngine(const Model& model, int64_t max_rows = 4096) {
    auto passes = GpuPasses::Create(model, gpu_.get());
    EXPECT_OK(passes);
    return std::make_unique<Engine>(model, std::move(passes).value(), max_rows);
  }
  std::vector<float> OnGpu(const Model& model, LaneSource* lane) {
    auto logits = GpuEngine(model)->Logits(Ids(), lane);
    EXPECT_OK(logits);
    return logits.ok() ? *std::move(logits) : std::vector<float>();
  }
  std::vector<float> OnProcessor(const Model& model, LaneSource* lane) {
    auto logits = Engine(model, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32).Logits(Ids(), lane);
    EXPECT_OK(logits);
    return logits.ok() ? *std::move(logits) : std::vector<float>();
  }
  // Under multipliers, deltas and noise that matter.
  void ExpectTheProcessorsLogits(const Model& model) {
    PlainLane plain;
    const std::vector<float> expected = OnProcessor(model, &plain);
    EXPECT_LT(LargestError(OnGpu(model, &plain), expected), kBound);
    for (const auto granularity : {method::Granularity::kChannel, method::Granularity::kGroup}) {
      std::vector<float> without;
      for (const bool deltas : {false, true}) {
        const method::Partition partition =
            model.info().PartitionFor({.granularity = granularity, .train_unquantized = deltas});
        DirectedLanes lane(partition, 1, 0, 0.3f);
        const std::vector<float> perturbed = OnProcessor(model, &lane);
        EXPECT_LT(LargestError(OnGpu(model, &lane), perturbed), kBound) << "deltas " << deltas;
        EXPECT_GT(LargestError(perturbed, deltas ? without : expected), 4 * kBound)
            << "noise without influence proves nothing";
        without = perturbed;
      }
    }
  }
  // Alone and with others, each loss has the same bits.
  void ExpectTheSameLossesAlone(const Model& model, bool deltas) {
    const std::vector<int32_t> ids = Ids();
    const std::vector<Example> examples = {{.prompt = {ids.begin(), ids.begin() + 8},
                                            .branches = {{ids.begin() + 8, ids.end()}, {3, 5, 7}},
                                            .scored = {},
                                            .label = 0},
                                           {.prompt = {2, 3}, .branches = {{4, 5}, {6}}, .scored = {}, .label = 1}};
    const Example* both[] = {&examples[0], &examples[1]};
    const method::Partition partition = model.info().PartitionFor({.train_unquantized = deltas});
    DirectedLanes all(partition, 3);
    std::vector<ExampleLoss> together;
    ASSERT_OK(GpuEngine(model)->Losses(TaskKind::kClassification, both, &all, &together));
    const std::unique_ptr<Engine> small = GpuEngine(model, 1);
    for (int lane = 0; lane < 3; ++lane) {
      DirectedLanes one(partition, 1, lane);
      for (size_t i = 0; i < 2; ++i) {
        std::vector<ExampleLoss> alone;
        ASSERT_OK(small->Losses(TaskKind::kClassification, {&both[i], 1}, &one, &alone));
        EXPECT_EQ(std::bit_cast<uint64_t>(alone[0].loss),
                  std::bit_cast<uint64_t>(together[static_cast<size_t>(lane) * 2 + i].loss))
            << "lane " << lane << " example " << i << " deltas " << deltas;
      }
    }
  }

  kernels::ThreadPool pool_{1};
};

class GpuArchitecturesTest : public GpuArchitectures, public ::testing::WithParamInterface<const char*> {};

TEST_P(GpuArchitecturesTest, LogitsAreCloseToTheProcessors) { ExpectTheProcessorsLogits(*LoadGguf(GetParam())); }

// Windows and prefixes among them: the model's window is shorter than these examples.
TEST_P(GpuArchitecturesTest, ALossDependsOnNothingThatSharesThePass) {
  const std::unique_ptr<Model> model = LoadGguf(GetParam());
  for (const bool deltas : {false, true}) ExpectTheSameLossesAlone(*model, deltas);
}

std::string NameOf(const ::testing::TestParamInfo<const char*>& info) { return info.param; }
INSTANTIATE_TEST_SUITE_P(Architectures, GpuArchitecturesTest,
                         ::testing::Values("gemma2", "gemma3", "gpt2", "mistral", "opt", "phi3", "qwen2", "qwen3"),
                         NameOf);

class GpuCheckpoints : public GpuArchitectures {
 protected:
  std::unique_ptr<Model> Load(std::map<std::string, std::string> files, const std::string& tokenizer = kStories) {
    files_ = std::move(files);
    auto checkpoint = testing::OpenFiles(files_);
    EXPECT_OK(checkpoint);
    const auto file = GgufFile::Open(testing::TestFile(tokenizer));
    auto model = Model::Load(*std::move(checkpoint), *MakeTokenizer(**file));
    EXPECT_OK(model);
    return model.ok() ? *std::move(model) : nullptr;
  }
  std::unique_ptr<Model> Load(const std::string& method, int bits) {
    return Load(TinyCheckpoint(method, bits).Files());
  }
  static constexpr char kStories[] = "golden/models/stories260k/stories260K-F32.gguf";
  std::map<std::string, std::string> files_;  // outlive the model
};

class GpuCheckpointTest : public GpuCheckpoints, public ::testing::WithParamInterface<int> {};

TEST_P(GpuCheckpointTest, CodebooksHaveTheProcessorsLogits) { ExpectTheProcessorsLogits(*Load("aqlm", GetParam())); }
INSTANTIATE_TEST_SUITE_P(Bits, GpuCheckpointTest, ::testing::Values(8, 16, 28));

// Checkpoints of plain floats: deltas of embedding and head, apart or one for both.
class GpuPlainCheckpointTest : public GpuCheckpoints, public ::testing::WithParamInterface<const char*> {
 protected:
  std::unique_ptr<Model> LoadIt() {
    const std::string directory = std::string("golden/architectures/") + GetParam() + "/";
    std::map<std::string, std::string> files;
    for (const char* file : {"config.json", "model.safetensors"}) {
      auto bytes = base::RealFileSystem()->Read(testing::TestFile(directory + file));
      EXPECT_OK(bytes);
      files[file] = *std::move(bytes);
    }
    return Load(std::move(files), directory + "model.gguf");
  }
};
TEST_P(GpuPlainCheckpointTest, LogitsAreCloseToTheProcessors) { ExpectTheProcessorsLogits(*LoadIt()); }
TEST_P(GpuPlainCheckpointTest, ALossDependsOnNothingThatSharesThePass) { ExpectTheSameLossesAlone(*LoadIt(), true); }
INSTANTIATE_TEST_SUITE_P(Architectures, GpuPlainCheckpointTest,
                         ::testing::Values("gemma3", "gpt2", "llama", "opt", "qwen2"), NameOf);

TEST_F(GpuCheckpoints, EmbeddingsThatAreNoMultipleOfFourAreRefused) {
  TinyCheckpoint odd;
  odd.config["hidden_size"] = 66;
  odd.config["head_dim"] = 32;
  odd.AddFloats("model.embed_tokens.weight", {512, 66});
  odd.AddFloats("lm_head.weight", {512, 66});
  for (const std::string name :
       {"model.norm", "model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm"}) {
    odd.AddFloats(name + ".weight", {66});
  }
  for (const auto& [name, rows, cols] : {std::tuple{"self_attn.q_proj", 64, 66},
                                         {"self_attn.k_proj", 32, 66},
                                         {"self_attn.v_proj", 32, 66},
                                         {"self_attn.o_proj", 66, 64},
                                         {"mlp.gate_proj", 96, 66},
                                         {"mlp.up_proj", 96, 66},
                                         {"mlp.down_proj", 66, 96}}) {
    odd.AddFloats(std::string("model.layers.0.") + name + ".weight", {rows, cols});
  }
  EXPECT_THAT(GpuPasses::Create(*Load(odd.Files()), gpu_.get()),
              StatusIs(absl::StatusCode::kUnimplemented, ::testing::HasSubstr("embeddings of 66")));
}

TEST_F(GpuCheckpoints, CodebooksOfSingleValuesHaveTheProcessorsLogits) {
  ExpectTheProcessorsLogits(*Load("bitsandbytes", 4));
}

}  // namespace
}  // namespace qzo::model
