// The ops of a Kernels table over a thread pool. Every op is batch invariant (kernels.h), so results do not depend on
// the number of threads nor on how the work is split; small work stays on the calling thread. Same thread contract as
// ThreadPool.
#ifndef QZO_KERNELS_PARALLEL_H_
#define QZO_KERNELS_PARALLEL_H_

#include <cstdint>
#include <span>

#include "kernels/kernels.h"
#include "kernels/thread_pool.h"

namespace qzo::kernels {

// All columns: split by columns, or by rows when there are too few columns to go round and enough rows to pay for
// decoding the weights once per thread.
void MatMul(const Kernels& kernels, ThreadPool& pool, const MatMulArgs& args);
void MatMulRounded(const Kernels& kernels, ThreadPool& pool, const RoundedMatMulArgs& args);

// Rows [0, rows).
void RoundRows(const Kernels& kernels, ThreadPool& pool, const float* x, int64_t ldx, int64_t rows, RoundedRows* out);

// All rows. Where `rounded` is given it receives the result's rows as well, rounded while they are in the cache.
// RmsNorm then takes a null y, for a result that is wanted rounded only.
void RmsNorm(const Kernels& kernels, ThreadPool& pool, const float* x, int64_t ldx, const float* weight, float epsilon,
             int64_t rows, int64_t dim, float* y, int64_t ldy, RoundedRows* rounded = nullptr);
void Attention(const Kernels& kernels, ThreadPool& pool, const AttentionArgs& args, RoundedRows* rounded = nullptr);
// gate, up, out [rows, dim], dense.
void SiluGate(const Kernels& kernels, ThreadPool& pool, const float* gate, const float* up, int64_t rows, int64_t dim,
              float* out, RoundedRows* rounded = nullptr);
void Rope(const Kernels& kernels, ThreadPool& pool, const RopeArgs& args);

// out[row] = log_sum_exp of row `row` of x [rows, n], row stride ldx.
void LogSumExp(const Kernels& kernels, ThreadPool& pool, const float* x, int64_t ldx, int64_t rows, int64_t n,
               double* out);

// Multipliers [begin, begin + count) of one tensor; begin is a multiple of 128, pointers as in kernels.h.
void Noise(const Kernels& kernels, ThreadPool& pool, const NoiseKey& key, int64_t begin, int64_t count, float* z);
void Update(const Kernels& kernels, ThreadPool& pool, std::span<const NoiseKey> keys,
            std::span<const float> coefficients, int64_t begin, int64_t count, const float* unit, float* k);

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_PARALLEL_H_
