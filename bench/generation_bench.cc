// Tokens per second of greedy generation after a short prompt, the prompt's own time not counted.
//
//   qzo_generation_bench MODEL.gguf TOKENS THREADS [int16|int8|fp32]     prints the number
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "kernels/fastest.h"
#include "kernels/thread_pool.h"
#include "model/graph/engine.h"
#include "model/graph/generator.h"

namespace qzo::model {
namespace {

absl::StatusOr<double> TokensPerSecond(const Model& model, int max_tokens, int threads,
                                       kernels::Arithmetic arithmetic) {
  kernels::ThreadPool pool(threads);
  PlainLane lane;
  Generator generator(model, kernels::FastestKernels(arithmetic), &pool, arithmetic, &lane);
  const absl::StatusOr<std::vector<int32_t>> prompt =
      model.tokenizer().Encode("Once upon a time, in a village by the sea, there was", false);
  if (!prompt.ok()) return prompt.status();
  SamplingOptions options;
  options.max_tokens = max_tokens;
  std::vector<absl::Duration> emitted;
  const absl::Status status = generator.Generate(*prompt, options, [&](int32_t) {
    emitted.push_back(base::SystemClock()->Monotonic());
    return true;
  });
  if (!status.ok()) return status;
  return static_cast<double>(emitted.size() - 1) / absl::ToDoubleSeconds(emitted.back() - emitted.front());
}

int Main(int argc, char** argv) {
  int tokens = 0;
  int threads = 0;
  const auto arithmetic = kernels::ParseArithmetic(argc == 5 ? argv[4] : "int16");
  if (argc < 4 || argc > 5 || !arithmetic || !absl::SimpleAtoi(argv[2], &tokens) || tokens < 2 ||
      !absl::SimpleAtoi(argv[3], &threads) || threads < 1) {
    std::fprintf(
        stderr,
        "usage: qzo_generation_bench MODEL.gguf TOKENS THREADS [int16|int8|fp32]  (at least 2 tokens, 1 thread)\n");
    return 2;
  }
  const absl::StatusOr<std::unique_ptr<Model>> model = Model::Load(argv[1]);
  const absl::StatusOr<double> speed =
      model.ok() ? TokensPerSecond(**model, tokens, threads, *arithmetic) : model.status();
  if (!speed.ok()) {
    std::fprintf(stderr, "%s\n", std::string(speed.status().message()).c_str());
    return 1;
  }
  std::printf("%.3f\n", *speed);
  return 0;
}

}  // namespace
}  // namespace qzo::model

int main(int argc, char** argv) { return qzo::model::Main(argc, argv); }
