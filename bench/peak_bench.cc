// What this machine can do at most, in the operations that the engine is made of: multiply-add instructions that touch
// registers only, and reading memory. Prints one line of JSON: operations (a multiplication and an addition are two)
// and bytes per second, the best of some short rounds, all threads together.
//
//   qzo_peak_bench THREADS
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <vector>

#include "bench/peak.h"

namespace qzo::bench {
namespace {

constexpr int kRounds = 7;

double BytesPerSecond(int threads) {
  constexpr size_t kWords = (size_t{64} << 20) / sizeof(uint64_t);  // of each thread: more than any second-level cache
  std::vector<std::vector<uint64_t>> arrays(static_cast<size_t>(threads), std::vector<uint64_t>(kWords, 1));
  std::atomic<uint64_t> sink = 0;
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const double seconds = Seconds(threads, [&](int thread) {
      uint64_t sum[8] = {};
      const std::vector<uint64_t>& array = arrays[static_cast<size_t>(thread)];
      for (size_t i = 0; i + 8 <= kWords; i += 8) {
        for (size_t j = 0; j < 8; ++j) sum[j] += array[i + j];
      }
      for (const uint64_t part : sum) sink += part;
    });
    best = std::max(best, static_cast<double>(threads) * kWords * sizeof(uint64_t) / seconds);
  }
  return sink > 0 ? best : 0;
}

}  // namespace
}  // namespace qzo::bench

int main(int argc, char** argv) {
  using namespace qzo::bench;
  const int threads = argc == 2 ? std::atoi(argv[1]) : 0;
  if (threads < 1) {
    std::fprintf(stderr, "usage: qzo_peak_bench THREADS\n");
    return 2;
  }
  nlohmann::json peaks = {{"read_bytes_per_s", BytesPerSecond(threads)}};
  for (const char* arithmetic : {"fp32", "int16", "int8"}) {
    const PeakLoop loop = FindPeakLoop(arithmetic);
    double best = 0;
    for (int round = 0; round < kRounds && loop.run != nullptr; ++round) best = std::max(best, PeakRate(loop, threads));
    if (best > 0) peaks[arithmetic] = best;
  }
  std::printf("%s\n", peaks.dump().c_str());
  return 0;
}
