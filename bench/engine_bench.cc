// Time of whole training steps of the engine: every probe's two lanes measured, coefficients applied. Prints one line
// of JSON; --help lists the settings. Steps go on until --seconds have passed, each on the batch that a job would take.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <new>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/philox.h"
#include "base/status_macros.h"
#include "bench/peak.h"
#include "kernels/cuda/backend.h"
#include "kernels/fastest.h"
#include "model/graph/engine.h"
#include "model/graph/gpu_passes.h"
#include "model/graph/pack.h"
#include "model/graph/replica.h"

namespace {

std::atomic<int64_t> allocations = 0;

void* Allocate(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  void* p = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace

void* operator new(std::size_t bytes) { return Allocate(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return Allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace qzo::model {
namespace {

struct Settings {
  std::string model;
  std::string arithmetic = "int16";
  std::string kernels = "auto";
  std::string device = "cpu";
  std::string data;  // JSON Lines; "" = rows of --tokens random digits, a token each in the models of the SmolLM family
  std::string prompt = "{text}";
  std::vector<std::string> options = {" no", " yes"};
  bool all_logits = false;  // every token of the text is scored, instead of two options after it
  bool group = false;
  int threads = 1;
  int tokens = 64;
  uint32_t batch = 16;
  uint32_t probes = 1;
  int64_t max_rows = kPassRows;
  size_t steps = 3;  // at least
  double seconds = 2;
  std::string write_batch;
};

std::string Digits(const Settings& settings) {
  std::string rows;
  for (uint32_t row = 0; row < settings.batch; ++row) {
    std::string text;
    for (int i = 0; i < settings.tokens; ++i) {
      text += static_cast<char>('0' + base::Philox4x32(1, {{static_cast<uint32_t>(i), row, 0, 0}}).w[0] % 10);
    }
    rows += nlohmann::json({{"first", text.substr(0, 1)}, {"rest", text.substr(1)}, {"text", text}, {"label", row % 2}})
                .dump() +
            "\n";
  }
  return rows;
}

std::string ReadData(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The rows of a batch as other programs can read them: [[prompt tokens, [option tokens, …], label], …].
absl::Status WriteBatch(const TaskDataset& data, absl::Span<const int32_t> batch, const std::string& path) {
  nlohmann::json rows = nlohmann::json::array();
  for (const int32_t row : batch) {
    const Example& example = data.example(row);
    rows.push_back({example.prompt, example.branches, example.label});
  }
  std::ofstream file(path);
  file << rows << "\n" << std::flush;
  return file ? absl::OkStatus() : absl::UnavailableError(path + ": not written");
}

// Floating-point operations of a forward pass over `example` under one lane: products with every matrix for every row
// that needs them, and attention.
double Operations(const Model& model, const Example& example) {
  const ModelInfo& info = model.info();
  Pack pack;
  AppendExample(example, 0, 0, &pack);
  const double rows = static_cast<double>(pack.rows()), kept = static_cast<double>(pack.kept.size());
  double key_value = 0, others = 0;
  for (const Layer& layer : model.layers()) {
    const auto size = [](const kernels::WeightMatrix& w) { return static_cast<double>(w.rows * w.cols); };
    const bool last = &layer == &model.layers().back();
    key_value += rows * (size(layer.k) + size(layer.v));
    others += (last ? kept : rows) *
              (size(layer.q) + size(layer.attention_output) + size(layer.gate) + size(layer.up) + size(layer.down));
  }
  double pairs = 0, kept_pairs = 0;
  for (size_t row = 0; row < pack.spans.size(); ++row) {
    const kernels::KeySpan& span = pack.spans[row];
    const double keys = span.prefix_end - span.prefix_begin + span.own_end - span.own_begin;
    pairs += keys;
    if (std::binary_search(pack.kept.begin(), pack.kept.end(), static_cast<int32_t>(row))) kept_pairs += keys;
  }
  const double attention = 2.0 * info.heads * info.head_dim * (pairs * (info.layers - 1) + kept_pairs);
  return 2 * (key_value + others + attention +
              kept * static_cast<double>(info.vocabulary) * static_cast<double>(info.embedding_length));
}

// Passes on the processor, or on `gpu`.
absl::StatusOr<std::unique_ptr<Engine>> MakeEngine(const Settings& settings, const Model& model,
                                                   const kernels::Kernels& kernels, kernels::ThreadPool* pool,
                                                   kernels::cuda::Gpu* gpu) {
  if (gpu == nullptr) {
    return std::make_unique<Engine>(model, kernels, pool, *kernels::ParseArithmetic(settings.arithmetic),
                                    settings.max_rows);
  }
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<GpuPasses> passes, GpuPasses::Create(model, gpu));
  return std::make_unique<Engine>(model, std::move(passes), settings.max_rows);
}

absl::StatusOr<nlohmann::json> Measure(const Settings& settings) {
  const kernels::Arithmetic arithmetic = *kernels::ParseArithmetic(settings.arithmetic);
  const kernels::Kernels* kernels =
      settings.kernels == "auto" ? &kernels::FastestKernels(arithmetic) : kernels::FindKernels(settings.kernels);
  if (kernels == nullptr) return absl::NotFoundError("no kernels '" + settings.kernels + "' on this machine");
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Load(settings.model));
  TaskSpec task;
  task.prompt = settings.prompt;
  task.options = settings.options;
  if (settings.all_logits) {
    task = {.kind = TaskKind::kCompletion, .prompt = "{first}", .options = {}, .answer = "{rest}"};
  }
  DatasetReport report;
  const std::string rows = settings.data.empty() ? Digits(settings) : ReadData(settings.data);
  QZO_ASSIGN_OR_RETURN(const TaskDataset data, TaskDataset::Load(task, model->tokenizer(), rows, "bench", &report));
  method::MethodSpec spec;
  spec.steps = 1 << 20;
  spec.probes = settings.probes;
  spec.batch_size = settings.batch;
  if (settings.group) spec.granularity = method::Granularity::kGroup;
  if (!settings.all_logits) spec.sampling = method::Sampling::kBalanced;
  const method::BatchOrder order(spec, "", data.rows_by_label());
  std::vector<int32_t> batch;
  if (!settings.write_batch.empty()) {
    order.Rows(0, 0, &batch);
    QZO_RETURN_IF_ERROR(WriteBatch(data, batch, settings.write_batch));
    return nlohmann::json{{"rows", batch.size()}};
  }
  kernels::ThreadPool pool(settings.threads);
  std::unique_ptr<kernels::cuda::Gpu> gpu;
  if (settings.device == "cuda") {
    QZO_ASSIGN_OR_RETURN(gpu, kernels::cuda::OpenGpu());
  }
  const int64_t device_free = gpu == nullptr ? 0 : gpu->free_bytes();
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, MakeEngine(settings, *model, *kernels, &pool, gpu.get()));
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<Replica> replica, Replica::Create(*model, spec, *kernels, &pool));

  std::vector<method::ItemLosses> items;
  const std::vector<float> coefficients(settings.probes, 1e-6f);
  std::vector<double> seconds, tokens, work, peaks;
  int64_t allocated = 0;
  const bench::PeakLoop loop =
      settings.seconds > 0 && gpu == nullptr ? bench::FindPeakLoop(settings.arithmetic) : bench::PeakLoop{};
  double peak_before = loop.run == nullptr ? 0 : bench::PeakRate(loop, settings.threads);
  const absl::Duration start = base::SystemClock()->Monotonic();
  while (seconds.size() < settings.steps ||
         base::SystemClock()->Monotonic() - start < absl::Seconds(settings.seconds)) {
    order.Rows(replica->step(), 0, &batch);
    double step_tokens = 0, step_work = 0;
    for (const int32_t row : batch) {
      step_tokens += static_cast<double>(PackedRows(data.example(row)));
      step_work += Operations(*model, data.example(row));
    }
    const int64_t before = allocations;
    const absl::Duration begin = base::SystemClock()->Monotonic();
    QZO_RETURN_IF_ERROR(replica->MeasureItems(engine.get(), task, data, order, 0, spec.items(), &items));
    QZO_RETURN_IF_ERROR(replica->Apply(coefficients));
    const absl::Duration end = base::SystemClock()->Monotonic();
    allocated = allocations - before;  // of the last step: buffers have grown by then
    seconds.push_back(absl::ToDoubleSeconds(end - begin));
    tokens.push_back(step_tokens * 2 * settings.probes);
    work.push_back(step_work * 2 * settings.probes);
    // What the machine could do around this step: a shared one changes from second to second.
    const double peak_after = loop.run == nullptr ? 0 : bench::PeakRate(loop, settings.threads);
    peaks.push_back((peak_before + peak_after) / 2);
    peak_before = peak_after;
  }
  // The first step pays for page faults and buffers. Speeds of steps differ in their rows, so medians are of speeds.
  std::vector<double> speed, rate, share;
  for (size_t i = 1; i < seconds.size(); ++i) {
    speed.push_back(tokens[i] / seconds[i]);
    rate.push_back(work[i] / seconds[i]);
    if (peaks[i] > 0) share.push_back(rate.back() / peaks[i]);
  }
  const auto median = [](std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  };
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  nlohmann::json result{{"step_s", median({seconds.begin() + 1, seconds.end()})},
                        {"tokens_per_s", median(speed)},
                        {"tokens_per_s_best", *std::max_element(speed.begin(), speed.end())},
                        {"gflop_per_s", median(rate) * 1e-9},
                        {"gflop_per_s_best", *std::max_element(rate.begin(), rate.end()) * 1e-9},
                        {"steps", seconds.size() - 1},
                        {"allocations_per_step", allocated},
                        {"peak_rss_bytes", int64_t{usage.ru_maxrss} * 1024},
                        {"planned_bytes", model->info().file_bytes + model->info().ActivationBytes(settings.max_rows) +
                                              4 * replica->partition().multipliers()},
                        {"kernels", std::string(kernels->name)}};
  if (!share.empty()) result["fraction_of_limit"] = median(share) / loop.mix;
  if (gpu != nullptr) result["device_bytes"] = device_free - gpu->free_bytes();
  return result;
}

int Main(int argc, char** argv) {
  Settings settings;
  CLI::App app("qzo_engine_bench: time of training steps of the engine", "qzo_engine_bench");
  app.option_defaults()->always_capture_default();
  app.add_option("--model", settings.model, "GGUF file")->required()->check(CLI::ExistingFile);
  app.add_option("--arithmetic", settings.arithmetic)->check(CLI::IsMember({"int16", "int8", "fp32"}));
  app.add_option("--kernels", settings.kernels, "a variant, or auto");
  app.add_option("--device", settings.device, "where passes run")->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--threads", settings.threads)->check(CLI::Range(1, 1024));
  app.add_option("--batch", settings.batch, "rows a step")->check(CLI::Range(1, 4096));
  app.add_option("--tokens", settings.tokens, "of a row, without --data")->check(CLI::Range(2, 1 << 16));
  app.add_option("--probes", settings.probes)->check(CLI::Range(1, 64));
  app.add_option("--max-rows", settings.max_rows, "token rows of a forward pass")->check(CLI::Range(1, 1 << 20));
  app.add_option("--data", settings.data, "JSON Lines with a label, instead of random rows")->check(CLI::ExistingFile);
  app.add_option("--prompt", settings.prompt, "template of --data");
  app.add_option("--options", settings.options, "that follow it")->delimiter(',');
  app.add_flag("--all-logits", settings.all_logits, "score every token of the row");
  app.add_flag("--group", settings.group, "a multiplier per scale group");
  app.add_option("--steps", settings.steps, "of measuring, at least; the first does not count")
      ->check(CLI::Range(2, 1 << 20));
  app.add_option("--write-batch", settings.write_batch, "write the first step's rows there, as JSON, and end");
  app.add_option("--seconds", settings.seconds, "of measuring, at least; 0: without this machine's peak");
  CLI11_PARSE(app, argc, argv);
  const absl::StatusOr<nlohmann::json> result = Measure(settings);
  if (!result.ok()) {
    std::fprintf(stderr, "%s\n", std::string(result.status().message()).c_str());
    return 1;
  }
  std::printf("%s\n", result->dump().c_str());
  return 0;
}

}  // namespace
}  // namespace qzo::model

int main(int argc, char** argv) { return qzo::model::Main(argc, argv); }
