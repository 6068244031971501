// What the published code does before it multiplies: the weights of one lane as a matrix of bfloat16 in memory. Half of
// a baseline for the products of kernels/cuda, which hold no such matrix.
#ifndef QZO_BENCH_DEQUANTIZE_H_
#define QZO_BENCH_DEQUANTIZE_H_

#include <cstdint>

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/matrix.h"

namespace qzo::bench {

inline constexpr int kDequantizeThreads = 256;

struct DequantizeParams {
  kernels::cuda::DeviceMatrix w;       // nibbles, with scales of kHalf or kZero
  const float* multipliers = nullptr;  // [rows], or [rows, groups] where `grouped`
  bool grouped = false;
  uint16_t* out = nullptr;  // [rows, stretches * 64], columns in RoundedInput's order
};

// value = bf16((multiplier · scale) · code). A thread makes 16 bytes: the eight values of a block that a word's masks
// and shifts yield together. Eight threads make a row's stretch, the next eight the next row's: what is read and what
// is written are whole lines.
QZO_KERNEL(256, 4) DequantizeKernel(const DequantizeParams p) {
  using namespace kernels::cuda;
  const int64_t unit = (int64_t{BlockIndexX()} * kDequantizeThreads + ThreadIndex()) / 8;
  const int piece = ThreadIndex() % 8, b = piece / 4, shift = piece % 4 / 2 * 4 + piece % 2 * 8;
  if (unit >= int64_t{p.w.rows} * p.w.stretches) return;
  const int row = static_cast<int>(unit % p.w.rows), stretch = static_cast<int>(unit / p.w.rows);
  const int64_t at = int64_t{row} * p.w.stretches + stretch;
  const uint32_t* codes = reinterpret_cast<const uint32_t*>(p.w.codes) + at * 8 + b;
  float scale, zero;
  if (p.w.format.scales == Scales::kHalf) {
    const uint16_t* record =
        reinterpret_cast<const uint16_t*>(p.w.records) + (int64_t{stretch} * p.w.rows + row) * 2 + b;
    scale = HalfBitsToFloat(*record);
    zero = 8;
  } else {
    const uint32_t* record =
        reinterpret_cast<const uint32_t*>(p.w.records) + (int64_t{stretch / 2} * p.w.rows + row) * 2;
    scale = FloatFromBits(record[0]);
    zero = static_cast<float>(static_cast<int32_t>(record[1]));
  }
  const int last = p.w.groups - 1, group = GroupOf(p.w, stretch * kStretch + b * 32);
  scale = p.multipliers[p.grouped ? row * p.w.groups + (group < last ? group : last) : row] * scale;
  uint32_t* out = reinterpret_cast<uint32_t*>(p.out) + at * (kStretch / 2) + piece * 4;
  QZO_UNROLL
  for (int t = 0; t < 4; ++t) {
    const uint32_t pair = NibblesPlus128(codes[2 * t] >> shift);
    out[t] =
        PackBf16(scale * (Bf16ToFloat(pair & 0xffff) - 128 - zero), scale * (Bf16ToFloat(pair >> 16) - 128 - zero));
  }
}

void LaunchDequantize(void* stream, const DequantizeParams& params);

}  // namespace qzo::bench

#endif  // QZO_BENCH_DEQUANTIZE_H_
