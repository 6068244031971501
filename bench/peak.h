// The rate of multiply-add instructions that touch registers only: what no product of matrices on this machine exceeds.
// x86-64 only. Included by one file of a program.
#ifndef QZO_BENCH_PEAK_H_
#define QZO_BENCH_PEAK_H_

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <thread>
#include <vector>

namespace qzo::bench {
namespace {

// 24 independent accumulators hide the latency of any of these instructions.
// clang-format off
#define QZO_REPEAT24(X)                                             \
  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)     \
  X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23)
// clang-format on
#define QZO_CLEAR_ZMM(i) "vpxord %%zmm" #i ", %%zmm" #i ", %%zmm" #i "\n"
#define QZO_LOOP_ZMM(name, instructions)                                                                            \
  __attribute__((target("avx512f"))) void name(int64_t rounds) {                                                    \
    asm volatile(QZO_REPEAT24(QZO_CLEAR_ZMM) "vpxord %%zmm30, %%zmm30, %%zmm30\n"                                 \
                 "vpxord %%zmm31, %%zmm31, %%zmm31\n.p2align 5\n1:\n" QZO_REPEAT24(instructions) "dec %0\njnz 1b\n" \
                 : "+r"(rounds)                                                                                   \
                 :                                                                                                \
                 : "cc", "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10",  \
                   "zmm11", "zmm12", "zmm13", "zmm14", "zmm15", "zmm16", "zmm17", "zmm18", "zmm19", "zmm20",      \
                   "zmm21", "zmm22", "zmm23", "zmm30", "zmm31"); \
  }
#define QZO_FMA_ZMM(i) "vfmadd231ps %%zmm30, %%zmm31, %%zmm" #i "\n"
#define QZO_DOT16_ZMM(i) "vpdpwssd %%zmm30, %%zmm31, %%zmm" #i "\n"
#define QZO_DOT8_ZMM(i) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #i "\n"
QZO_LOOP_ZMM(Fma512, QZO_FMA_ZMM)
QZO_LOOP_ZMM(Dot16In512, QZO_DOT16_ZMM)
QZO_LOOP_ZMM(Dot8In512, QZO_DOT8_ZMM)

// AVX2 has 16 registers: twelve accumulators. Its products of integers are added by an instruction of their own.
#define QZO_REPEAT12(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define QZO_LOOP_YMM(name, instructions)                                                                          \
  __attribute__((target("avx2,fma"))) void name(int64_t rounds) {                                                 \
    asm volatile("vzeroall\n.p2align 5\n1:\n" QZO_REPEAT12(instructions) "dec %0\njnz 1b\n"                       \
                 : "+r"(rounds)                                                                                   \
                 :                                                                                                \
                 : "cc", "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", \
                   "ymm11", "ymm12", "ymm14", "ymm15");                                                           \
  }
#define QZO_FMA_YMM(i) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #i "\n"
#define QZO_DOT16_YMM(i) "vpmaddwd %%ymm14, %%ymm15, %%ymm12\nvpaddd %%ymm12, %%ymm" #i ", %%ymm" #i "\n"
#define QZO_DOT8_YMM(i) "vpmaddubsw %%ymm14, %%ymm15, %%ymm12\nvpaddw %%ymm12, %%ymm" #i ", %%ymm" #i "\n"
QZO_LOOP_YMM(Fma256, QZO_FMA_YMM)
QZO_LOOP_YMM(Dot16In256, QZO_DOT16_YMM)
QZO_LOOP_YMM(Dot8In256, QZO_DOT8_YMM)

// Seconds that the slowest of `threads` needs for body(thread), all starting at once.
template <typename Body>
double Seconds(int threads, Body&& body) {
  std::atomic<int> waiting = threads;
  std::vector<double> seconds(static_cast<size_t>(threads));
  std::vector<std::thread> running;
  for (int thread = 0; thread < threads; ++thread) {
    running.emplace_back([&, thread] {
      for (--waiting; waiting != 0;) std::this_thread::yield();
      const auto begin = std::chrono::steady_clock::now();
      body(thread);
      seconds[static_cast<size_t>(thread)] =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    });
  }
  for (std::thread& thread : running) thread.join();
  return *std::max_element(seconds.begin(), seconds.end());
}

struct PeakLoop {
  void (*run)(int64_t rounds) = nullptr;
  int operations = 0;  // of a round: a multiplication and an addition are two
  // Share of the loop's instructions among those of a product whose scales cover 32 values. Per block and vector the
  // others convert the sum, multiply two scales, and add it and the minimum to the total.
  double mix = 1;
};

// For products in "fp32", "int16" or "int8" (of codes of 4 bits, where that matters); without `run` where this machine
// has no such instruction.
PeakLoop FindPeakLoop(std::string_view arithmetic) {
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (arithmetic == "fp32") {
    if (__builtin_cpu_supports("avx512f")) return {Fma512, 24 * 16 * 2};
    if (avx2) return {Fma256, 12 * 8 * 2};
  } else if (__builtin_cpu_supports("avx512vnni")) {
    return arithmetic == "int16" ? PeakLoop{Dot16In512, 24 * 32 * 2, 16.0 / (16 + 4)}
                                 : PeakLoop{Dot8In512, 24 * 64 * 2, 8.0 / (8 + 4)};
  } else if (avx2 && !__builtin_cpu_supports("avx512f")) {  // int8: one more instruction adds up the sums of 16 bits
    return arithmetic == "int16" ? PeakLoop{Dot16In256, 12 * 16 * 2, 32.0 / (32 + 4)}
                                 : PeakLoop{Dot8In256, 12 * 32 * 2, 16.0 / (16 + 5)};
  }
  return {};
}

// Operations per second of `threads` at once, over some 10 ms.
double PeakRate(const PeakLoop& loop, int threads) {
  constexpr int64_t kRounds = 2'000'000;
  const double seconds = Seconds(threads, [&](int) { loop.run(kRounds); });
  return static_cast<double>(threads) * kRounds * loop.operations / seconds;
}

}  // namespace
}  // namespace qzo::bench

#endif  // QZO_BENCH_PEAK_H_
