// In its own program, for it replaces operator new: a training step allocates nothing once it has seen one like it.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "kernels/fastest.h"
#include "model/graph/engine.h"
#include "model/graph/replica.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tiny_model.h"

namespace {

std::atomic<int64_t> allocations = 0;

void* Allocate(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  void* p = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

// Not inlined: g++ takes a free that it sees beside a new for a mistake.
[[gnu::noinline]] void Free(void* p) { std::free(p); }

}  // namespace

void* operator new(std::size_t bytes) { return Allocate(bytes, alignof(std::max_align_t)); }
void* operator new[](std::size_t bytes) { return Allocate(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return Allocate(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return Allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* p) noexcept { Free(p); }
void operator delete[](void* p) noexcept { Free(p); }
void operator delete(void* p, std::size_t) noexcept { Free(p); }
void operator delete[](void* p, std::size_t) noexcept { Free(p); }
void operator delete(void* p, std::align_val_t) noexcept { Free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { Free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { Free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { Free(p); }

namespace qzo::model {
namespace {

void ExpectNoneAfterTheFirstStep(const std::string& path, const std::string& text, std::vector<std::string> options,
                                 bool train_unquantized = false) {
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Model> model, Model::Load(testing::TestFile("golden/" + path)));
  TaskSpec task;
  task.prompt = "{text}";
  task.options = std::move(options);
  std::string rows;
  for (int row = 0; row < 12; ++row) {
    rows += R"({"text": ")" + text + R"(", "label": )" + std::to_string(row % 2) + "}\n";
  }
  DatasetReport report;
  ASSERT_OK_AND_ASSIGN(const TaskDataset data, TaskDataset::Load(task, model->tokenizer(), rows, "test", &report));
  for (const auto arithmetic : {kernels::Arithmetic::kFp32, kernels::Arithmetic::kInt16, kernels::Arithmetic::kInt8}) {
    for (const int threads : {1, 3}) {
      method::MethodSpec spec;
      spec.steps = 10;
      spec.probes = 2;
      spec.batch_size = 8;
      spec.train_unquantized = train_unquantized;
      kernels::ThreadPool pool(threads);
      const kernels::Kernels& kernels = kernels::FastestKernels(arithmetic);
      Engine engine(*model, kernels, &pool, arithmetic);
      ASSERT_OK_AND_ASSIGN(const auto replica, Replica::Create(*model, spec, kernels, &pool));
      const method::BatchOrder order(spec, "", data.rows_by_label());
      std::vector<method::ItemLosses> items;
      const std::vector<float> coefficients(spec.probes, 1e-3f);
      bool ok = true;  // the test's own macros allocate
      const auto step = [&] {
        ok = replica->MeasureItems(&engine, task, data, order, 0, spec.items(), &items).ok() && ok;
        ok = replica->Apply(coefficients).ok() && ok;
      };
      step();
      step();
      const int64_t before = allocations;
      for (int i = 0; i < 5; ++i) step();
      const int64_t made = allocations - before;
      EXPECT_TRUE(ok);
      EXPECT_EQ(made, 0) << path << ", " << kernels::ArithmeticName(arithmetic) << ", " << threads << " threads";
      EXPECT_GT(before, 0) << "allocations are counted";
    }
  }
}

TEST(Allocations, ThereAreNoneInAStepAfterTheFirst) {
  ExpectNoneAfterTheFirstStep("models/stories260k/stories260K-Q4_1.gguf", "Once upon a time there was a little girl",
                              {"He", "She was"});
}

TEST(Allocations, ThereAreNoneWhereDeltasAreTrained) {
  ExpectNoneAfterTheFirstStep("models/stories260k/stories260K-F32.gguf", "Once upon a time there was a little girl",
                              {"He", "She was"}, /*train_unquantized=*/true);
}

TEST(Allocations, ThereAreNoneInAnyArchitecture) {
  for (const char* name : {"mistral", "qwen3", "gemma2", "gemma3", "phi3", "opt", "gpt2"}) {
    ExpectNoneAfterTheFirstStep("architectures/" + std::string(name) + "/model.gguf", "abbabaab", {"a", "bab"});
  }
}

}  // namespace
}  // namespace qzo::model
