// A model that several GPUs hold between them: the bits of one that holds it all.
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>

#include "kernels/cuda/test_gpu.h"
#include "method/batch_order.h"
#include "method/rule.h"
#include "model/graph/gpu_passes.h"
#include "model/graph/replica.h"
#include "tests/support/queue_seam.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"

namespace qzo::model {
namespace {

using ::qzo::testing::Passed;
using ::qzo::testing::QueueSeam;
using ::qzo::testing::StatusIs;

// One stage's model, seam and engine, on a device of its own.
struct Stage {
  Stage(std::unique_ptr<Model> model_in, Passed* in, Passed* out, int64_t max_rows, bool on_device = false)
      : model(std::move(model_in)), gpu(kernels::cuda::MakeTestGpu()), seam(in, out, on_device ? gpu.get() : nullptr) {
    auto passes = GpuPasses::Create(*model, gpu.get(), model->whole() ? nullptr : &seam);
    EXPECT_OK(passes);
    engine = std::make_unique<Engine>(*model, *std::move(passes), max_rows);
  }
  std::unique_ptr<Model> model;
  std::unique_ptr<kernels::cuda::Gpu> gpu;
  QueueSeam seam;
  std::unique_ptr<Engine> engine;
};

method::MethodSpec PublishedMethod() {
  method::MethodSpec spec;
  spec.steps = 2;
  spec.probes = 1;
  spec.batch_size = 3;
  spec.granularity = method::Granularity::kGroup;
  spec.mode = method::Mode::kAbsolute;
  spec.noise = method::Noise::kGaussian;
  spec.epsilon = 1e-3f;
  return spec;
}

class GpuStagesTest : public kernels::cuda::OnTestGpu<> {
 protected:
  // Items, multipliers and digests over two steps.
  void ExpectTheSameJournal(const method::MethodSpec& spec, const std::string& path,
                            const std::vector<LayerRange>& ranges, bool on_device = false) {
    const auto load = [&](LayerRange range) { return *Model::Load(testing::TestFile(path), range); };
    ExpectTheSameJournal(spec, ranges, load, on_device);
  }
  void ExpectTheSameJournal(const method::MethodSpec& spec, const std::vector<LayerRange>& ranges,
                            const std::function<std::unique_ptr<Model>(LayerRange)>& load, bool on_device = false) {
    constexpr char kRows[] =
        "{\"t\":\"aababbab\",\"label\":0}\n{\"t\":\"bba\",\"label\":1}\n{\"t\":\"abaaa\",\"label\":0}\n";
    TaskSpec task;
    task.prompt = "{t}";
    task.options = {"a", "bab"};
    Stage whole(load({}), nullptr, nullptr, 4096);
    DatasetReport report;
    ASSERT_OK_AND_ASSIGN(const TaskDataset data,
                         TaskDataset::Load(task, whole.model->tokenizer(), kRows, "rows", &report));
    const method::BatchOrder order(spec, "digest", data.rows_by_label());
    ASSERT_OK_AND_ASSIGN(const auto replica, Replica::Create(*whole.model, spec, kernels::BestKernels(), &pool_));
    std::vector<Passed> passed(ranges.size() + 1);
    std::deque<Stage> stages;
    std::vector<std::unique_ptr<Replica>> parts;
    for (size_t i = 0; i < ranges.size(); ++i) {
      // Several passes of one lane or two.
      stages.emplace_back(load(ranges[i]), &passed[i], &passed[i + 1], 24, on_device);
      ASSERT_OK_AND_ASSIGN(auto part, Replica::Create(*stages.back().model, spec, kernels::BestKernels(), &pool_));
      parts.push_back(std::move(part));
    }
    for (int step = 0; step < 2; ++step) {
      std::vector<method::ItemLosses> expected, items;
      ASSERT_OK(replica->MeasureItems(whole.engine.get(), task, data, order, 0, spec.items(), &expected));
      for (size_t i = 0; i < parts.size(); ++i) {
        ASSERT_OK(parts[i]->MeasureItems(stages[i].engine.get(), task, data, order, 0, spec.items(), &items));
        EXPECT_TRUE(passed[i].empty());
        if (i + 1 < parts.size()) {
          EXPECT_GT(passed[i + 1].size(), 1u);
        }
      }
      ASSERT_EQ(items, expected) << "step " << step;
      EXPECT_NE(items[0].plus, items[0].minus) << "lanes without noise prove nothing";
      const std::vector<float> coefficients(spec.probes, 0.01f);
      ASSERT_OK(replica->Apply(coefficients));
      for (const auto& part : parts) ASSERT_OK(part->Apply(coefficients));
    }
  }

  kernels::ThreadPool pool_{1};
};

TEST_F(GpuStagesTest, ThreeStagesTrainTheSameJournal) {
  method::MethodSpec spec;
  spec.steps = 2;
  spec.probes = 2;
  spec.batch_size = 2;
  for (const bool on_device : {false, true}) {
    SCOPED_TRACE(on_device ? "from device to device" : "by way of the hosts");
    ExpectTheSameJournal(spec, "golden/models/stories260k/stories260K-Q4_1.gguf", {{0, 2}, {2, 3}, {3, 5}}, on_device);
  }
}

TEST_F(GpuStagesTest, TwoStagesTrainTheSameJournalByThePublishedMethod) {
  const method::MethodSpec spec = PublishedMethod();
  for (const std::string name : {"gemma3", "llama", "opt"}) {
    ExpectTheSameJournal(spec, "golden/architectures/" + name + "/model.gguf", {{0, 1}, {1, 2}});
  }
}

// The first of them has deltas of the embedding, the last of output norm and head.
TEST_F(GpuStagesTest, TwoStagesTrainTheSameJournalOfDeltas) {
  method::MethodSpec spec = PublishedMethod();
  spec.train_unquantized = true;
  spec.delta_unit = 1;
  const std::map<std::string, std::string> files = testing::TinyCheckpoint("aqlm", 28, false, 2).Files();
  ExpectTheSameJournal(spec, {{0, 1}, {1, 2}}, [&](LayerRange range) {
    auto checkpoint = testing::OpenFiles(files);
    const auto file = GgufFile::Open(testing::TestFile("golden/models/stories260k/stories260K-F32.gguf"));
    return *Model::Load(*std::move(checkpoint), *MakeTokenizer(**file), range);
  });
}

TEST_F(GpuStagesTest, WhatTheSeamReturnsEndsThePass) {
  Passed nothing, sent;
  const Example example{.prompt = {3, 4}, .branches = {{5}, {6}}, .scored = {}, .label = 0};
  const Example* one = &example;
  PlainLane plain;
  std::vector<ExampleLoss> losses;
  const std::string path = testing::TestFile("golden/models/stories260k/stories260K-Q4_1.gguf");
  Stage fed(*Model::Load(path, {4, 5}), &nothing, &sent, 512);
  EXPECT_THAT(fed.engine->Losses(TaskKind::kClassification, {&one, 1}, &plain, &losses),
              StatusIs(absl::StatusCode::kUnavailable, ::testing::HasSubstr("nothing was sent")));
  Stage first(*Model::Load(path, {0, 2}), &nothing, &sent, 512);
  first.seam.no_turns = true;
  EXPECT_THAT(first.engine->Losses(TaskKind::kClassification, {&one, 1}, &plain, &losses),
              StatusIs(absl::StatusCode::kCancelled, ::testing::HasSubstr("no turn")));
  EXPECT_TRUE(sent.empty());
  EXPECT_THAT(first.engine->Logits(example.prompt, &plain).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("layers [0, 2) have no logits")));
}

}  // namespace
}  // namespace qzo::model
