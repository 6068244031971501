// Token rows per second of perturbed forward passes, classification with two options of one token, as a training step
// does them. The model is the file that QZO_BENCH_MODEL names.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/philox.h"
#include "model/graph/engine.h"
#include "model/graph/replica.h"

namespace qzo::model {
namespace {

struct Case {
  int examples;
  int tokens;
  uint32_t probes;
  int threads;
  method::Granularity granularity;
};

TaskDataset MakeDataset(const Model& model, const TaskSpec& task, const Case& c) {
  std::string jsonl;
  for (int row = 0; row < c.examples; ++row) {
    std::string text;
    for (int word = 0; word < c.tokens; ++word) {
      text += static_cast<char>(
          '0' + base::Philox4x32(1, {{static_cast<uint32_t>(word), static_cast<uint32_t>(row), 0, 0}}).w[0] % 10);
    }
    jsonl += "{\"text\": \"" + text + "\", \"label\": " + std::to_string(row % 2) + "}\n";
  }
  DatasetReport report;
  auto data = TaskDataset::Load(task, model.tokenizer(), jsonl, "bench", &report);
  if (!data.ok()) std::fprintf(stderr, "%s\n", std::string(data.status().message()).c_str());
  return std::move(data).value();
}

void BenchItems(benchmark::State& state, const Model& model, const kernels::Kernels& kernels, const Case& c) {
  TaskSpec task;
  task.prompt = "{text}";  // digits: a token each in the models of the SmolLM family
  task.options = {" no", " yes"};
  const TaskDataset data = MakeDataset(model, task, c);
  method::MethodSpec spec;
  spec.steps = 1;
  spec.probes = c.probes;
  spec.batch_size = static_cast<uint32_t>(c.examples);
  spec.granularity = c.granularity;
  kernels::ThreadPool pool(c.threads);
  Engine engine(model, kernels, &pool, kernels::Arithmetic::kFp32);
  auto replica = Replica::Create(model, spec, kernels, &pool);
  const method::BatchOrder order(spec, "", data.rows_by_label());
  int64_t rows = 0;
  for (int64_t i = 0; i < data.size(); ++i) rows += static_cast<int64_t>(data.example(i).prompt.size());
  std::vector<method::ItemLosses> items;
  for (auto _ : state) {
    const absl::Status status = (*replica)->MeasureItems(&engine, task, data, order, 0, spec.items(), &items);
    if (!status.ok()) state.SkipWithError(std::string(status.message()).c_str());
  }
  const double lane_rows = static_cast<double>(rows) * 2 * c.probes;
  state.counters["rows"] = lane_rows;
  state.counters["rows/s"] =
      benchmark::Counter(lane_rows * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
  state.counters["arena_MB"] = static_cast<double>(engine.arena_bytes()) * 1e-6;
}

int Main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const char* path = std::getenv("QZO_BENCH_MODEL");
  auto model = Model::Load(path == nullptr ? "" : path);
  if (!model.ok()) {
    std::fprintf(stderr, "QZO_BENCH_MODEL: %s\n", std::string(model.status().message()).c_str());
    return 1;
  }
  for (const kernels::Kernels* kernels : kernels::AllKernels()) {
    if (!kernels->supported()) continue;
    for (const Case& c :
         {Case{16, 64, 1, 1, method::Granularity::kChannel}, Case{16, 40, 1, 1, method::Granularity::kChannel},
          Case{16, 64, 1, 2, method::Granularity::kChannel}, Case{16, 40, 1, 2, method::Granularity::kChannel},
          Case{16, 40, 8, 2, method::Granularity::kChannel}, Case{16, 40, 1, 2, method::Granularity::kGroup}}) {
      const std::string name = std::string(kernels->name) + "/examples:" + std::to_string(c.examples) +
                               "/tokens:" + std::to_string(c.tokens) + "/probes:" + std::to_string(c.probes) +
                               "/threads:" + std::to_string(c.threads) +
                               (c.granularity == method::Granularity::kGroup ? "/group" : "/channel");
      benchmark::RegisterBenchmark(
          name.c_str(), [&model, kernels, c](benchmark::State& state) { BenchItems(state, **model, *kernels, c); })
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime()
          ->MeasureProcessCPUTime();
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace qzo::model

int main(int argc, char** argv) { return qzo::model::Main(argc, argv); }
