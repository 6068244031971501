// Peak memory of training steps, as a worker makes them, with the paper's method: group multipliers, absolute,
// Gaussian, one probe. Prints one line of JSON: the largest resident set, what of it was anonymous and what mapped from
// files in the end, and what plans predict. With --hold it then waits for the end of its standard input.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.h"
#include "base/philox.h"
#include "base/status_macros.h"
#include "kernels/fastest.h"
#include "model/formats/memory_plan.h"
#include "model/graph/engine.h"
#include "model/graph/replica.h"

namespace qzo::model {
namespace {

struct Settings {
  std::string model;
  uint32_t batch = 1;
  int tokens = 30;  // of a prompt, as SST-2's rows have; options have one
  int steps = 2;
  int threads = 0;
  std::string packed;  // directory for layers that are repacked
  bool hold = false;
};

// A line of /proc/self/status, in bytes.
int64_t Status(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return std::stoll(line.substr(name.size() + 1)) * 1024;
  }
  return 0;
}

// Letters, each a token of its own in the vocabularies that memory.py writes.
std::string Rows(const Settings& settings) {
  std::string rows;
  for (uint32_t row = 0; row < settings.batch; ++row) {
    std::string text;
    for (uint32_t i = 0; i < static_cast<uint32_t>(settings.tokens); ++i) {
      text += static_cast<char>('a' + base::Philox4x32(1, {{i, row, 0, 0}}).w[0] % 26);
    }
    rows += nlohmann::json({{"text", text}, {"label", row % 2}}).dump() + "\n";
  }
  return rows;
}

method::MethodSpec PaperMethod(const Settings& settings) {
  method::MethodSpec method;
  method.steps = static_cast<uint32_t>(settings.steps);
  method.probes = 1;
  method.batch_size = settings.batch;
  method.granularity = method::Granularity::kGroup;
  method.mode = method::Mode::kAbsolute;
  method.noise = method::Noise::kGaussian;
  method.rule = method::Rule::kClip;
  method.schedule = method::Schedule::kConstant;
  method.epsilon = 1e-3f;
  method.learning_rate = 1e-7;
  return method;
}

absl::Status Run(const Settings& settings) {
  const PackedLayers packed(base::RealFileSystem(), settings.packed, "model");
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                       Model::Load(settings.model, {}, settings.packed.empty() ? nullptr : &packed));
  const auto arithmetic = kernels::Arithmetic::kInt16;
  const kernels::Kernels& kernels = kernels::FastestKernels(arithmetic);
  kernels::ThreadPool pool(settings.threads);
  Engine engine(*model, kernels, &pool, arithmetic);
  const method::MethodSpec method = PaperMethod(settings);
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<Replica> replica, Replica::Create(*model, method, kernels, &pool));
  TaskSpec task;
  task.prompt = "{text}";
  task.options = {"0", "1"};
  DatasetReport report;
  QZO_ASSIGN_OR_RETURN(const TaskDataset data,
                       TaskDataset::Load(task, model->tokenizer(), Rows(settings), "rows", &report));
  const method::BatchOrder order(method, "memory", data.rows_by_label());
  std::vector<method::ItemLosses> items;
  const absl::Duration begin = base::SystemClock()->Monotonic();
  for (int step = 0; step < settings.steps; ++step) {
    QZO_RETURN_IF_ERROR(replica->MeasureItems(&engine, task, data, order, 0, method.items(), &items));
    const auto d = static_cast<float>((items[0].plus - items[0].minus) / (2e-3 * static_cast<double>(items[0].count)));
    if (!std::isfinite(d)) return absl::InternalError("a loss is not finite: nothing was measured");
    const float coefficient =
        static_cast<float>(method.learning_rate * std::clamp(double{d}, -method.clip, method.clip));
    QZO_RETURN_IF_ERROR(replica->Apply({coefficient}));
  }
  const absl::Duration taken = base::SystemClock()->Monotonic() - begin;
  const MemoryPlan plan = PlanMemory(model->info(), method, report.longest, report.tokens);
  const nlohmann::json found = {{"peak_bytes", Status("VmHWM")},
                                {"anonymous_bytes", Status("RssAnon")},
                                {"mapped_bytes", Status("RssFile")},
                                {"planned_bytes", plan.total()},
                                {"plan",
                                 {{"mapped", plan.mapped},
                                  {"repacked", plan.repacked},
                                  {"multipliers", plan.multipliers},
                                  {"activations", plan.activations},
                                  {"tables", plan.tables}}},
                                {"multipliers", replica->partition().multipliers()},
                                {"step_seconds", absl::ToDoubleSeconds(taken) / settings.steps}};
  std::cout << found << std::endl;
  if (settings.hold) std::cin.ignore(std::numeric_limits<std::streamsize>::max());
  return absl::OkStatus();
}

}  // namespace
}  // namespace qzo::model

int main(int argc, char** argv) {
  qzo::model::Settings settings;
  CLI::App app("Peak memory of training steps");
  app.add_option("MODEL", settings.model, "checkpoint directory or GGUF file")->required();
  app.add_option("--batch", settings.batch, "rows of a step")->capture_default_str();
  app.add_option("--tokens", settings.tokens, "of a row's prompt")->capture_default_str();
  app.add_option("--steps", settings.steps, "steps")->capture_default_str()->check(CLI::Range(1, 1000));
  app.add_option("--threads", settings.threads, "0 = all")->capture_default_str();
  app.add_option("--packed", settings.packed,
                 "directory for layers that are repacked, as a worker's cache; else memory");
  app.add_flag("--hold", settings.hold, "wait for the end of standard input");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = qzo::model::Run(settings);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}
