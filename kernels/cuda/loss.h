// Log-probabilities of chosen tokens, from rows of logits.
#ifndef QZO_KERNELS_CUDA_LOSS_H_
#define QZO_KERNELS_CUDA_LOSS_H_

#include <cstdint>

#include "kernels/cuda/gpu.h"
#include "kernels/exact_math.h"

namespace qzo::kernels::cuda {

inline constexpr int kLossThreads = 256;
inline constexpr int kLossShared = kLossThreads * 8;

struct LogSumParams {
  const float* logits = nullptr;  // [rows, n]
  int n = 0;
  const int32_t* rows = nullptr;
  double* log_sums = nullptr;  // [rows]
};

// max + log(Σ exp(x_j − max)): the exps in fp32, thread i adds those of j = i mod 256 in ascending order in double, a
// fixed tree the threads'.
QZO_KERNEL(256, 2) LogSumKernel(const LogSumParams p) {
  const int64_t row = BlockIndexX();
  if (row >= *p.rows) return;
  const float* x = p.logits + row * p.n;
  const int thread = ThreadIndex();
  float* maxima = reinterpret_cast<float*>(SharedMemory());
  float max = x[thread < p.n ? thread : 0];
  for (int j = thread; j < p.n; j += kLossThreads) max = x[j] > max || x[j] != x[j] ? x[j] : max;
  max = WarpMax(max);
  if (thread % 32 == 0) maxima[thread / 32] = max;
  SyncThreads();
  for (int warp = 0; warp < kLossThreads / 32; ++warp) {
    max = maxima[warp] > max || maxima[warp] != maxima[warp] ? maxima[warp] : max;
  }
  SyncThreads();
  double* sums = reinterpret_cast<double*>(SharedMemory());
  double sum = 0;
  for (int j = thread; j < p.n; j += kLossThreads) sum += double{Exp(x[j] - max)};
  sums[thread] = sum;
  SyncThreads();
  for (int half = kLossThreads / 2; half >= 1; half /= 2) {
    if (thread < half) sums[thread] += sums[thread + half];
    SyncThreads();
  }
  if (thread == 0) p.log_sums[row] = double{max} + Log(sums[0]);
}

// A token whose log-probability is wanted, and where it is reported.
struct ChosenToken {
  int32_t row = 0;
  int32_t token = 0;
  int32_t slot = 0;
};

// Those of rows [first_row, first_row + *rows), whose logits are held.
struct ChosenParams {
  const float* logits = nullptr;  // [*rows, n]
  int n = 0;
  int first_row = 0;
  const int32_t* rows = nullptr;
  const double* log_sums = nullptr;
  const ChosenToken* tokens = nullptr;
  const int32_t* count = nullptr;
  double* out = nullptr;
};

QZO_KERNEL(256, 4) ChosenKernel(const ChosenParams p) {
  const int i = BlockIndexX() * kLossThreads + ThreadIndex();
  if (i >= *p.count) return;
  const ChosenToken token = p.tokens[i];
  const int row = token.row - p.first_row;
  if (row < 0 || row >= *p.rows) return;
  p.out[token.slot] = double{p.logits[int64_t{row} * p.n + token.token]} - p.log_sums[row];
}

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_LOSS_H_
