// The ops of a Kernels table over a thread pool. Every op is batch invariant (kernels.h), so results do not depend on
// the number of threads nor on how the work is split; small work stays on the calling thread. Same thread contract as
// ThreadPool.
#ifndef QZO_KERNELS_PARALLEL_H_
#define QZO_KERNELS_PARALLEL_H_

#include <cstdint>
#include <span>

#include "kernels/activation.h"
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
// The norms then take a null y, for a result that is wanted rounded only. A norm with a null bias is rms_norm.
void Norm(const Kernels& kernels, ThreadPool& pool, const float* x, int64_t ldx, const float* weight, const float* bias,
          float epsilon, int64_t rows, int64_t dim, float* y, int64_t ldy, RoundedRows* rounded = nullptr);
void Attention(const Kernels& kernels, ThreadPool& pool, const AttentionArgs& args, RoundedRows* rounded = nullptr);
// gate, up [rows, dim], dense; gate = activation(gate) · up, or without up activation(gate). Silu takes no null up,
// Relu nothing else.
void Activate(const Kernels& kernels, ThreadPool& pool, Activation activation, float* gate, const float* up,
              int64_t rows, int64_t dim, RoundedRows* rounded = nullptr);
void Rope(const Kernels& kernels, ThreadPool& pool, const RopeArgs& args);

// y [rows, dim] += x, which is [rows, dim] or, by AddRow, one row for all; dense.
void Add(const Kernels& kernels, ThreadPool& pool, const float* x, int64_t rows, int64_t dim, float* y);
void AddRow(const Kernels& kernels, ThreadPool& pool, const float* x, int64_t rows, int64_t dim, float* y);
// x [rows, dim], dense, in place.
void SoftCap(const Kernels& kernels, ThreadPool& pool, float cap, int64_t rows, int64_t dim, float* x);

// out[row] = log_sum_exp of row `row` of x [rows, n], row stride ldx.
void LogSumExp(const Kernels& kernels, ThreadPool& pool, const float* x, int64_t ldx, int64_t rows, int64_t n,
               double* out);

// Multipliers [begin, begin + count) of one tensor; begin is a multiple of 128, pointers as in kernels.h.
void Noise(const Kernels& kernels, ThreadPool& pool, const NoiseKey& key, int64_t begin, int64_t count, float* z);
void Update(const Kernels& kernels, ThreadPool& pool, std::span<const NoiseKey> keys,
            std::span<const float> coefficients, int64_t begin, int64_t count, const float* unit, float* k);

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_PARALLEL_H_
