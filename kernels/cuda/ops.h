// The kernels of this folder as functions that launch them on a stream. A table exists per way to run: on a device
// (device_gpu.cu) and on the emulator (host/emulated_gpu.cc), from the same source (launch.h).
#ifndef QZO_KERNELS_CUDA_OPS_H_
#define QZO_KERNELS_CUDA_OPS_H_

#include "kernels/cuda/attention.h"
#include "kernels/cuda/deltas.h"
#include "kernels/cuda/loss.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/noise.h"
#include "kernels/cuda/rows.h"

namespace qzo::kernels::cuda {

// `max_rows`: what the count that params point at may reach. Head dimensions: SupportsHead.
struct GpuOps {
  void (*mat_mul)(void* stream, const MatMulParams& params);
  void (*attention)(void* stream, const AttentionParams& params, int max_tiles);
  void (*round)(void* stream, const RoundParams& params, int max_rows);
  void (*norm)(void* stream, const NormParams& params, int max_rows);
  void (*norm_heads)(void* stream, const NormHeadsParams& params, int max_rows);
  void (*gate)(void* stream, const GateParams& params, int max_rows);
  void (*rotate)(void* stream, const RotateParams& params, int max_rows);
  void (*embed)(void* stream, const EmbedParams& params, int max_rows);
  void (*lane_vectors)(void* stream, const LaneVectorsParams& params, int max_lanes);
  void (*delta_product)(void* stream, const DeltaProductParams& params);
  void (*gather)(void* stream, const GatherParams& params, int max_rows);
  void (*soft_cap)(void* stream, const SoftCapParams& params, int max_rows);
  void (*log_sum)(void* stream, const LogSumParams& params, int max_rows);
  void (*chosen)(void* stream, const ChosenParams& params, int max_count);
  void (*perturb)(void* stream, const PerturbParams& params);
  void (*update)(void* stream, const UpdateParams& params);
};

constexpr bool SupportsHead(int head_dim) { return head_dim % 8 == 0 && head_dim <= 256; }

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_OPS_H_
