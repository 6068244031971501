#include "kernels/fastest.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <new>
#include <vector>

namespace qzo::kernels {
namespace {

// A product of the usual kind, small enough to be quick and large enough for its decoding not to count.
constexpr int64_t kRows = 64, kColumns = 64, kDepth = 512;
constexpr int kRounds = 3;

struct Operands {
  explicit Operands(Arithmetic rounding)
      : arithmetic(rounding),
        x(static_cast<size_t>(kRows * kDepth), 0.5f),
        w(static_cast<size_t>(kColumns * (kDepth / BlockValues(WeightType::kQ4_1)) * BlockBytes(WeightType::kQ4_1))),
        y(static_cast<size_t>(kRows * kColumns)) {
    if (arithmetic == Arithmetic::kFp32) return;
    const size_t bytes = static_cast<size_t>(RoundedBytes(arithmetic, kRows, kDepth));
    storage.resize(bytes + 64);
    void* aligned = storage.data();
    size_t space = storage.size();
    rounded =
        MakeRoundedRows(arithmetic, static_cast<std::byte*>(std::align(64, bytes, aligned, space)), kRows, kDepth);
    AllKernels().front()->round_rows(x.data(), kDepth, 0, kRows, &rounded);
  }

  void Multiply(const Kernels& kernels) {
    const WeightMatrix matrix{WeightType::kQ4_1, w.data(), kColumns, kDepth};
    const LaneRows lane{0, kRows, nullptr};
    if (arithmetic == Arithmetic::kFp32) {
      kernels.matmul({.x = x.data(), .ldx = kDepth, .w = matrix, .lanes = {&lane, 1}, .y = y.data(), .ldy = kColumns},
                     0, kColumns);
    } else {
      kernels.matmul_rounded({.x = rounded, .w = matrix, .lanes = {&lane, 1}, .y = y.data(), .ldy = kColumns}, 0,
                             kColumns);
    }
  }

  const Arithmetic arithmetic;
  std::vector<float> x;
  std::vector<std::byte> w;  // zeros: products take the same time whatever the values
  std::vector<float> y;
  std::vector<std::byte> storage;
  RoundedRows rounded;
};

}  // namespace

const Kernels& FastestKernels(Arithmetic arithmetic) {
  using Clock = std::chrono::steady_clock;
  Operands operands(arithmetic);
  const Kernels* best = AllKernels().front();
  Clock::duration least = Clock::duration::max();
  for (const Kernels* kernels : AllKernels().subspan(1)) {  // the reference is for machines that have nothing else
    if (!kernels->supported()) continue;
    for (int round = 0; round <= kRounds; ++round) {  // the first one warms up
      const Clock::time_point begin = Clock::now();
      operands.Multiply(*kernels);
      const Clock::duration took = Clock::now() - begin;
      if (round == 0 || took >= least) continue;
      least = took;
      best = kernels;
    }
  }
  return *best;
}

}  // namespace qzo::kernels
