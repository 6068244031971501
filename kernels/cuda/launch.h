// Which kernel serves an op, with which grid and shared memory. `Launcher` has
//   template <auto kKernel, int kSharedBytes, typename Params>
//   static void Run(void* stream, int grid_x, int grid_y, int threads, const Params& params);
#ifndef QZO_KERNELS_CUDA_LAUNCH_H_
#define QZO_KERNELS_CUDA_LAUNCH_H_

#include "kernels/cuda/ops.h"

namespace qzo::kernels::cuda {

template <typename Launcher>
struct Launches {
  template <auto kKernel, int kSharedBytes, typename Params>
  static void Run(void* stream, int grid_x, int grid_y, int threads, const Params& params) {
    static_assert(kSharedBytes <= kMostShared);
    Launcher::template Run<kKernel, kSharedBytes>(stream, grid_x, grid_y, threads, params);
  }

  template <Codes kCodes, Scales kScales>
  static void MatMulOf(void* stream, const MatMulParams& p) {
    const int tiles = (p.w.rows + kTileColumns - 1) / kTileColumns;
    Run<MatMulKernel<kCodes, kScales>, MatMulLayout<kCodes, kScales>::kBytes>(stream, p.max_strips / 2 * tiles,
                                                                              p.slices, kMatMulThreads, p);
    if (p.slices > 1) Run<AddSlicesKernel, 0>(stream, p.max_strips, tiles, kTileColumns, p);
  }

  static void MatMul(void* stream, const MatMulParams& p) {
    const bool nibbles = p.w.format.codes == Codes::kNibble;
    switch (p.w.format.scales) {
      case Scales::kHalf:
        return nibbles ? MatMulOf<Codes::kNibble, Scales::kHalf>(stream, p)
                       : MatMulOf<Codes::kByte, Scales::kHalf>(stream, p);
      case Scales::kHalfMin:
        return MatMulOf<Codes::kNibble, Scales::kHalfMin>(stream, p);
      case Scales::kSuper:
        return MatMulOf<Codes::kNibble, Scales::kSuper>(stream, p);
      case Scales::kZero:
        return MatMulOf<Codes::kNibble, Scales::kZero>(stream, p);
      case Scales::kZeros:
        return MatMulOf<Codes::kNibble, Scales::kZeros>(stream, p);
      case Scales::kFloat:
        return MatMulOf<Codes::kByte, Scales::kFloat>(stream, p);
      case Scales::kFloatHalf:
        return MatMulOf<Codes::kByte, Scales::kFloatHalf>(stream, p);
      case Scales::kNone:
        return MatMulOf<Codes::kBf16, Scales::kNone>(stream, p);
      case Scales::kScale:
        return MatMulOf<Codes::kBook4, Scales::kScale>(stream, p);
      case Scales::kScales:
        return MatMulOf<Codes::kBook4, Scales::kScales>(stream, p);
      case Scales::kRow:
        return p.w.format.codes == Codes::kBook8 ? MatMulOf<Codes::kBook8, Scales::kRow>(stream, p)
                                                 : MatMulOf<Codes::kBook16, Scales::kRow>(stream, p);
    }
  }

  template <int kDim>
  static void AttentionOf(void* stream, const AttentionParams& p, int max_tiles) {
    Run<AttentionKernel<kDim>, AttentionLayout<kDim>::kBytes>(
        stream, max_tiles, p.heads * AttentionLayout<kDim>::kParts, kAttentionThreads, p);
  }
  static void Attention(void* stream, const AttentionParams& p, int max_tiles) {
    if (p.head_dim <= 16) return AttentionOf<16>(stream, p, max_tiles);
    if (p.head_dim <= 64) return AttentionOf<64>(stream, p, max_tiles);
    if (p.head_dim <= 128) return AttentionOf<128>(stream, p, max_tiles);
    AttentionOf<256>(stream, p, max_tiles);
  }

  template <auto kKernel, int kSharedBytes, typename Params>
  static void PerRow(void* stream, const Params& p, int max_rows) {
    Run<kKernel, kSharedBytes>(stream, max_rows, 1, kRowThreads, p);
  }
  static void Chosen(void* stream, const ChosenParams& p, int max_count) {
    Run<ChosenKernel, 0>(stream, (max_count + kLossThreads - 1) / kLossThreads, 1, kLossThreads, p);
  }
  static void Perturb(void* stream, const PerturbParams& p) {
    Run<PerturbKernel, 0>(stream, UpdateBlocks(p.count), 1, kUpdateThreads, p);
  }
  static void Update(void* stream, const UpdateParams& p) {
    Run<UpdateKernel, 0>(stream, p.blocks, 1, kUpdateThreads, p);
  }

  static void LaneVectors(void* stream, const LaneVectorsParams& p, int max_lanes) {
    Run<LaneVectorsKernel, 0>(stream, p.blocks, max_lanes, kUpdateThreads, p);
  }
  static void DeltaProduct(void* stream, const DeltaProductParams& p) {
    const int tiles = (p.rows + kTileColumns - 1) / kTileColumns;
    const int blocks = p.max_strips * tiles;
    Run<DeltaProductKernel<DeltaPart::kDeltas>, kDeltaShared>(stream, blocks, 1, kDeltaThreads, p);
    Run<DeltaProductKernel<DeltaPart::kNoise>, kDeltaShared>(stream, blocks, 1, kDeltaThreads, p);
  }

  static constexpr GpuOps kOps = {
      .mat_mul = MatMul,
      .attention = Attention,
      .round = PerRow<RoundKernel, 0, RoundParams>,
      .norm = PerRow<NormKernel, kNormShared, NormParams>,
      .norm_heads = PerRow<NormHeadsKernel, 0, NormHeadsParams>,
      .gate = PerRow<GateKernel, 0, GateParams>,
      .rotate = PerRow<RotateKernel, 0, RotateParams>,
      .embed = PerRow<EmbedKernel, 0, EmbedParams>,
      .lane_vectors = LaneVectors,
      .delta_product = DeltaProduct,
      .gather = PerRow<GatherKernel, 0, GatherParams>,
      .soft_cap = PerRow<SoftCapKernel, 0, SoftCapParams>,
      .log_sum = PerRow<LogSumKernel, kLossShared, LogSumParams>,
      .chosen = Chosen,
      .perturb = Perturb,
      .update = Update,
  };
};

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_LAUNCH_H_
