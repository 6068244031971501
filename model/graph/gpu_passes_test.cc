// Whole forward passes of a small model on the GPU of the tests, against the processor's.
#include "model/graph/gpu_passes.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <numeric>

#include "kernels/cuda/test_gpu.h"
#include "model/graph/replica.h"
#include "tests/support/directed_lanes.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tiny_model.h"

namespace qzo::model {
namespace {

using ::qzo::testing::DirectedLanes;
using ::qzo::testing::LoadStories;
using ::qzo::testing::StatusIs;

std::vector<Example> SomeExamples() {
  std::vector<Example> examples;
  for (int32_t i = 0; i < 3; ++i) {
    Example example;
    for (int32_t token = 0; token < 3 + 30 * (i % 2); ++token)
      example.prompt.push_back((token * 37 + i * 11) % 500 + 3);
    example.branches = {{5 + i, 17, 300}, {44}};
    example.label = i % 2;
    examples.push_back(example);
  }
  return examples;
}

std::vector<const Example*> Pointers(const std::vector<Example>& examples) {
  std::vector<const Example*> pointers;
  for (const Example& example : examples) pointers.push_back(&example);
  return pointers;
}

// Counts what goes to a device.
class CountingGpu final : public kernels::cuda::Gpu {
 public:
  explicit CountingGpu(std::unique_ptr<Gpu> gpu) : gpu_(std::move(gpu)) {}
  absl::StatusOr<std::unique_ptr<Gpu>> Share() override { return gpu_->Share(); }
  const std::string& name() const override { return gpu_->name(); }
  const std::string& architecture() const override { return gpu_->architecture(); }
  int64_t free_bytes() const override { return gpu_->free_bytes(); }
  absl::StatusOr<std::byte*> Allocate(size_t bytes) override { return gpu_->Allocate(bytes); }
  void Free(std::byte* memory) override { gpu_->Free(memory); }
  absl::StatusOr<std::byte*> AllocateHost(size_t bytes) override { return gpu_->AllocateHost(bytes); }
  void FreeHost(std::byte* memory) override { gpu_->FreeHost(memory); }
  void Upload(std::byte* to, const std::byte* from, size_t bytes) override {
    largest_upload = std::max(largest_upload, bytes);
    gpu_->Upload(to, from, bytes);
  }
  void Download(std::byte* to, const std::byte* from, size_t bytes) override { gpu_->Download(to, from, bytes); }
  absl::Status Wait() override { return gpu_->Wait(); }
  absl::Status Health() override { return gpu_->Health(); }
  const kernels::cuda::GpuOps& ops() const override { return gpu_->ops(); }
  void* stream() override { return gpu_->stream(); }
  void RunGraph(const kernels::cuda::GraphKey& key, const std::function<void()>& launch) override {
    gpu_->RunGraph(key, launch);
  }

  size_t largest_upload = 0;

 private:
  const std::unique_ptr<Gpu> gpu_;
};

class GpuPassesTest : public kernels::cuda::OnTestGpu<> {
 protected:
  std::unique_ptr<Engine> GpuEngine(const Model& model, int64_t max_rows = 4096) {
    auto passes = GpuPasses::Create(model, gpu_.get());
    EXPECT_OK(passes);
    return std::make_unique<Engine>(model, std::move(passes).value(), max_rows);
  }
  std::vector<ExampleLoss> Losses(Engine* engine, const std::vector<Example>& examples, LaneSource* lanes) {
    std::vector<ExampleLoss> losses;
    EXPECT_OK(engine->Losses(TaskKind::kClassification, Pointers(examples), lanes, &losses));
    return losses;
  }

  kernels::ThreadPool pool_{1};
};

// The only roundings that matter are those of activations to bfloat16, 2^-9 relative, independent, about six in a row
// in each of the five layers: a logit, a sum over 64 of them, moves by some 2^-9 · sqrt(30) of its size of about 4.
constexpr double kLogitError = 0.15;

TEST_F(GpuPassesTest, LogitsAreCloseToTheProcessorsForEveryStorage) {
  for (const std::string storage : {"F32", "Q8_0", "Q4_0", "Q4_1"}) {
    const std::unique_ptr<Model> model = LoadStories(storage);
    Engine cpu(*model, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
    const std::unique_ptr<Engine> gpu = GpuEngine(*model);
    std::vector<int32_t> ids(70);
    std::iota(ids.begin(), ids.end(), 100);
    PlainLane plain;
    ASSERT_OK_AND_ASSIGN(const std::vector<float> expected, cpu.Logits(ids, &plain));
    ASSERT_OK_AND_ASSIGN(const std::vector<float> found, gpu->Logits(ids, &plain));
    ASSERT_EQ(found.size(), expected.size());
    double worst = 0, squares = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      const double error = std::fabs(double{found[i]} - double{expected[i]});
      if (!(error <= worst)) worst = error;
      squares += error * error;
    }
    EXPECT_LE(worst, kLogitError) << storage;
    EXPECT_LE(std::sqrt(squares / static_cast<double>(found.size())), kLogitError / 5) << storage;
  }
}

TEST_F(GpuPassesTest, PerturbedLanesHaveTheProcessorsLosses) {
  for (const auto granularity : {method::Granularity::kChannel, method::Granularity::kGroup}) {
    const std::unique_ptr<Model> model = LoadStories("Q4_1");
    const method::Partition partition(granularity, model->info().trained);
    DirectedLanes lanes(partition, 4);
    Engine cpu(*model, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
    const std::vector<Example> examples = SomeExamples();
    const std::vector<ExampleLoss> expected = Losses(&cpu, examples, &lanes);
    const std::vector<ExampleLoss> found = Losses(GpuEngine(*model).get(), examples, &lanes);
    ASSERT_EQ(found.size(), expected.size());
    double difference = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_NEAR(found[i].loss, expected[i].loss, kLogitError) << "lane " << i / 3 << " example " << i % 3;
      difference += std::fabs(expected[i].loss - expected[(i + 3) % found.size()].loss);
    }
    EXPECT_GT(difference, 4 * kLogitError);  // or wrong noise would not be seen
  }
}

// One tensor is embedding and head, and has one delta for both.
TEST_F(GpuPassesTest, LanesWithDeltasHaveTheProcessorsLosses) {
  const std::unique_ptr<Model> model = LoadStories("F32");
  ASSERT_TRUE(model->info().embedding_shared());
  const method::Partition with = model->info().PartitionFor({.train_unquantized = true}),
                          without = model->info().PartitionFor({});
  DirectedLanes lanes(with, 2), scales(without, 2);
  Engine cpu(*model, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  const std::vector<Example> examples = SomeExamples();
  const std::vector<ExampleLoss> expected = Losses(&cpu, examples, &lanes), of_scales = Losses(&cpu, examples, &scales);
  const std::unique_ptr<Engine> gpu = GpuEngine(*model);
  for (DirectedLanes* turn : {&lanes, &scales, &lanes}) {  // as jobs on one model take turns
    const std::vector<ExampleLoss> found = Losses(gpu.get(), examples, turn);
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_NEAR(found[i].loss, (turn == &lanes ? expected : of_scales)[i].loss, kLogitError)
          << "lane " << i / 3 << " example " << i % 3;
    }
  }
  double difference = 0;
  for (size_t i = 0; i < 3; ++i) difference += std::fabs(expected[i].loss - expected[3 + i].loss);
  EXPECT_GT(difference, 4 * kLogitError);  // or wrong noise would not be seen
}

TEST_F(GpuPassesTest, ALossDependsOnNothingThatSharesThePass) {
  for (const auto granularity : {method::Granularity::kChannel, method::Granularity::kGroup}) {
    const std::unique_ptr<Model> model = LoadStories("Q4_0");
    const method::Partition partition(granularity, model->info().trained);
    const std::vector<Example> examples = SomeExamples();
    DirectedLanes all(partition, 3);
    const std::vector<ExampleLoss> together = Losses(GpuEngine(*model).get(), examples, &all);
    const std::unique_ptr<Engine> small = GpuEngine(*model, 1);
    for (size_t lane = 0; lane < 3; ++lane) {
      DirectedLanes one(partition, 1, static_cast<int>(lane));
      for (size_t i = 0; i < examples.size(); ++i) {
        const ExampleLoss alone = Losses(small.get(), {examples[i]}, &one)[0];
        EXPECT_EQ(std::bit_cast<uint64_t>(alone.loss), std::bit_cast<uint64_t>(together[lane * 3 + i].loss))
            << "lane " << lane << " example " << i;
      }
    }
  }
}

TEST_F(GpuPassesTest, AStepOfAReplicaIsSeenByTheNextPass) {
  const std::unique_ptr<Model> model = LoadStories("Q8_0");
  method::MethodSpec spec;
  spec.probes = 1;
  spec.steps = 1;
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Replica> replica,
                       Replica::Create(*model, spec, kernels::BestKernels(), &pool_));
  const std::unique_ptr<Engine> gpu = GpuEngine(*model);
  Engine cpu(*model, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  const std::vector<Example> examples = SomeExamples();
  const std::unique_ptr<LaneSource> lane = replica->CurrentLane();
  const double before = Losses(gpu.get(), examples, lane.get())[0].loss;
  ASSERT_OK(replica->Apply({0.5f}));
  const double after = Losses(gpu.get(), examples, lane.get())[0].loss;
  EXPECT_NEAR(after, Losses(&cpu, examples, lane.get())[0].loss, kLogitError);
  EXPECT_NE(after, before);  // with the same multipliers it would be the same bits
}

// What a device holds after steps is, bit for bit, what would have been uploaded.
TEST_F(GpuPassesTest, StepsAreTakenOnTheDevice) {
  const std::vector<Example> examples = {{.prompt = {5, 9, 30}, .branches = {{17, 40}}, .scored = {}, .label = -1}};
  for (const auto& pair : {std::pair{false, false}, {true, false}, {false, true}, {true, true}}) {
    const bool paper = pair.first, deltas = pair.second;  // clang 14 has no lambdas that refer to structured bindings
    // The published method needs scales in every matrix; this model's multipliers are fewer than a pass's tables.
    const std::string golden = testing::TestFile("golden/architectures/llama/model.gguf");
    const std::unique_ptr<Model> model = paper ? *Model::Load(golden) : LoadStories(deltas ? "F32" : "Q4_0");
    method::MethodSpec spec;
    spec.train_unquantized = deltas;
    spec.probes = 3;
    spec.steps = 8;
    if (paper) {
      spec.granularity = method::Granularity::kGroup;
      spec.mode = method::Mode::kAbsolute;
      spec.noise = method::Noise::kGaussian;
    }
    ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Replica> replica,
                         Replica::Create(*model, spec, kernels::BestKernels(), &pool_));
    CountingGpu counting(kernels::cuda::MakeTestGpu());
    ASSERT_OK_AND_ASSIGN(std::unique_ptr<GpuPasses> passes, GpuPasses::Create(*model, &counting));
    Engine following(*model, std::move(passes), 4096);
    const std::unique_ptr<LaneSource> lane = replica->CurrentLane();
    const size_t bytes = replica->multipliers().size() * sizeof(float);
    const std::vector<float> scaled = {paper ? 1e-3f : 0.3f, 0.0f, paper ? -2e-3f : -0.1f};
    const auto expect_same = [&](bool uploaded, const std::string& after) {
      counting.largest_upload = 0;
      std::vector<ExampleLoss> found, expected;
      ASSERT_OK(following.Losses(TaskKind::kCompletion, Pointers(examples), lane.get(), &found));
      ASSERT_OK(GpuEngine(*model)->Losses(TaskKind::kCompletion, Pointers(examples), lane.get(), &expected));
      EXPECT_EQ(std::bit_cast<uint64_t>(found[0].loss), std::bit_cast<uint64_t>(expected[0].loss)) << after;
      if (!paper) {
        EXPECT_EQ(counting.largest_upload >= bytes, uploaded) << after;
      }
    };
    expect_same(true, "nothing");
    for (const char* after : {"a step", "another step"}) {
      ASSERT_OK(replica->Apply(scaled));
      expect_same(false, after);
    }
    ASSERT_OK(replica->Apply(scaled));
    ASSERT_OK(replica->Apply(scaled));
    expect_same(true, "two steps at once");
    ASSERT_OK(replica->Restore(1, std::vector<float>(replica->multipliers().size(), 1.25f)));
    expect_same(true, "a snapshot");
    ASSERT_OK(replica->Apply(scaled));
    expect_same(false, "a step after a snapshot");
  }
}

TEST_F(GpuPassesTest, RefusesLanesThatAreArrays) {
  const std::unique_ptr<Model> model = LoadStories("Q4_0");
  const method::Partition partition(method::Granularity::kChannel, model->info().trained);
  testing::FlatLanes lanes(partition, {std::vector<float>(static_cast<size_t>(partition.multipliers()), 1.0f)});
  std::vector<ExampleLoss> losses;
  const std::vector<Example> examples = SomeExamples();
  EXPECT_THAT(GpuEngine(*model)->Losses(TaskKind::kClassification, Pointers(examples), &lanes, &losses),
              StatusIs(absl::StatusCode::kUnimplemented, ::testing::HasSubstr("without a state")));
}

}  // namespace
}  // namespace qzo::model
