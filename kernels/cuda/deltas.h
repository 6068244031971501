// Unquantized tensors that are trained by deltas, perturbed on the fly like multipliers (noise.h). A layer's vectors
// are made for every lane of a pass before it; of an embedding only the rows that are looked up (EmbedKernel in
// rows.h). A head's deltas and noise are multiplied apart from what it stores, and apart from each other:
//   y = (x · Wᵀ + x · δᵀ) + l · (x · zᵀ),   l = ±(epsilon · unit)
// each operand rounded to bfloat16 by itself, so that a perturbation far below the last place of a stored value or of a
// delta is not lost. Signs are exact; a Gaussian z is off by at most 2^-9 of itself. Sums are fp32, 16 columns a
// product in ascending order: a function of the row, the tensor and the lane alone.
#ifndef QZO_KERNELS_CUDA_DELTAS_H_
#define QZO_KERNELS_CUDA_DELTAS_H_

#include <cstdint>

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/noise.h"

namespace qzo::kernels::cuda {

struct LaneVectorsParams {
  const float* stored = nullptr;  // the values of some tensors, one after the other
  const float* deltas = nullptr;  // theirs
  int64_t begin = 0;              // of the first tensor, by UpdateTensor::begin
  const UpdateTensor* tensors = nullptr;
  int tensor_count = 0;
  int first_block = 0;  // blocks [first_block, first_block + blocks) are theirs
  int blocks = 0;
  const LaneNoise* lanes = nullptr;
  const int32_t* lane_count = nullptr;
  float* out = nullptr;  // [lanes, stride]
  int64_t stride = 0;
};

// Lane `y` of the grid: stored values plus the lane's deltas.
QZO_KERNEL(256, 4) LaneVectorsKernel(const LaneVectorsParams p) {
  const int lane = BlockIndexY(), block = p.first_block + BlockIndexX();
  if (lane >= *p.lane_count) return;
  const UpdateTensor tensor = TensorOf(p.tensors, p.tensor_count, block);
  const uint32_t i = UpdateIndex(block - tensor.first_block, ThreadIndex());
  if (i >= tensor.count) return;
  const int64_t before = tensor.begin - p.begin;
  NoiseCursor noise;
  p.out[lane * p.stride + before + i] =
      p.stored[before + i] + noise.Delta({p.deltas + before, tensor.ordinal}, p.lanes[lane], i);
}

struct DeltaProductParams {
  RoundedInput x;
  Deltas deltas;  // [rows, cols]
  int rows = 0;
  int cols = 0;  // a multiple of 4
  const LaneNoise* lanes = nullptr;
  const Strip* strips = nullptr;  // of rows of x
  const int32_t* strip_count = nullptr;
  int max_strips = 0;
  int first_row = 0;  // y holds rows [first_row, first_row + *held) of x: of others nothing is computed
  const int32_t* held = nullptr;
  float* y = nullptr;  // [*held, rows], added to
};

inline constexpr int kDeltaThreads = 256;
inline constexpr int kDeltaStages = 3;
inline constexpr int kDeltaStageBytes = kStripRows * 128;
inline constexpr int kDeltaShared = kDeltaStages * kDeltaStageBytes;

// The two products: kernels of their own, so that either's sums stay in registers.
enum class DeltaPart : uint8_t { kDeltas, kNoise };

// A block computes 128 columns of y for one strip, a warp 16 of them.
template <DeltaPart kPart>
QZO_KERNEL(256, 2)
DeltaProductKernel(const DeltaProductParams p) {
  const int strip_at = BlockIndexX() % p.max_strips, tile = BlockIndexX() / p.max_strips;
  if (strip_at >= *p.strip_count) return;
  const Strip strip = p.strips[strip_at];
  const int held_end = p.first_row + *p.held, strip_end = strip.begin + strip.rows;
  const int begin = strip.begin < p.first_row ? p.first_row : strip.begin;
  const int tokens = (strip_end < held_end ? strip_end : held_end) - begin;
  if (tokens <= 0) return;
  const LaneNoise direction = p.lanes[strip.lane];
  if (kPart == DeltaPart::kNoise && direction.signed_epsilon == 0) return;
  std::byte* shared = SharedMemory();
  const int thread = ThreadIndex(), lane = thread % 32, g = lane / 4, t = lane % 4;
  const int column = tile * kTileColumns + thread / 32 * 16 + g;  // and the one eight further
  const int count = (p.cols + kStretch - 1) / kStretch;

  const auto load_stage = [&](int i) {
    std::byte* stage = shared + i % kDeltaStages * kDeltaStageBytes;
    QZO_UNROLL
    for (int j = 0; j < 2; ++j) {  // rows that the strip does not have repeat its last one
      const int row = thread / 8 + 32 * j;
      const int64_t token = begin + (row < tokens ? row : tokens - 1);
      CopyAsync16(stage + row * 128 + ((thread % 8) ^ (row % 8)) * 16,
                  p.x.values + (token * count + i) * kStretch + thread % 8 * 8);
    }
  };

  float sums[8][4] = {};  // [8 rows of x]
  NoiseCursor noise[2];
  const auto multiply = [&](int i) {
    const std::byte* stage = shared + i % kDeltaStages * kDeltaStageBytes;
    QZO_NO_UNROLL
    for (int b = 0; b < 2; ++b) {
      uint32_t pairs[2][4];  // [16 columns]
      QZO_UNROLL
      for (int upper = 0; upper < 2; ++upper) {
        const int wanted = column + 8 * upper, row = wanted < p.rows ? wanted : p.rows - 1;
        QZO_UNROLL
        for (int step = 0; step < 2; ++step) {
          const int k = i * kStretch + 32 * b + 16 * step + 4 * t;
          const int64_t at = int64_t{row} * p.cols + k;
          float values[4];
          if constexpr (kPart == DeltaPart::kNoise) {
            noise[upper].Four(direction, p.deltas.tensor, static_cast<uint32_t>(at), values);
          } else {
            QZO_UNROLL
            for (int j = 0; j < 4; ++j) values[j] = k < p.cols ? p.deltas.values[at + j] : 0.0f;
          }
          pairs[step][upper] = PackBf16(values[0], values[2]);
          pairs[step][2 + upper] = PackBf16(values[1], values[3]);
        }
      }
      QZO_UNROLL
      for (int j = 0; j < 8; ++j) {
        const int row = 8 * j + lane % 8;
        uint32_t x[4];
        LoadMatrices(x, stage + row * 128 + ((4 * b + lane / 8) ^ (lane % 8)) * 16);
        MmaBf16(sums[j], pairs[0], x[0], x[1]);
        MmaBf16(sums[j], pairs[1], x[2], x[3]);
      }
    }
  };

  QZO_UNROLL
  for (int i = 0; i < kDeltaStages - 1; ++i) {
    if (i < count) load_stage(i);
    CopyAsyncCommit();
  }
  for (int i = 0; i < count; ++i) {
    CopyAsyncWait<kDeltaStages - 2>();
    SyncThreads();  // stage i is there; stage i − 1 is no longer read
    if (i + kDeltaStages - 1 < count) load_stage(i + kDeltaStages - 1);
    CopyAsyncCommit();
    multiply(i);
  }
  QZO_UNROLL
  for (int j = 0; j < 8; ++j) {
    QZO_UNROLL
    for (int r = 0; r < 4; ++r) {
      const int token = 8 * j + 2 * t + r % 2, row = column + 8 * (r / 2);
      if (token >= tokens || row >= p.rows) continue;
      float& y = p.y[int64_t{begin - p.first_row + token} * p.rows + row];
      y = kPart == DeltaPart::kNoise ? Fma(direction.signed_delta_epsilon, sums[j][r], y) : y + sums[j][r];
    }
  }
}

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_DELTAS_H_
