// A replica's multipliers and deltas in the memory of a GPU. They are uploaded once and then change as the replica's
// do, by the same steps and with the same bits; another replica's, or ones that have changed otherwise, are uploaded
// anew.
#ifndef QZO_MODEL_GRAPH_GPU_MULTIPLIERS_H_
#define QZO_MODEL_GRAPH_GPU_MULTIPLIERS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/deltas.h"
#include "kernels/cuda/noise.h"
#include "method/partition.h"
#include "model/graph/engine.h"
#include "model/graph/gpu_memory.h"
#include "model/graph/gpu_model.h"

namespace qzo::model {

// How kernels are told of a direction.
inline kernels::cuda::LaneNoise NoiseOf(const LaneDirection& direction, float delta_unit) {
  return {.seed = direction.key.seed,
          .step = direction.key.step,
          .probe = direction.key.probe,
          .signed_epsilon = direction.signed_epsilon,
          .kind = direction.key.kind,
          .signed_delta_epsilon = direction.signed_epsilon * delta_unit};
}

// Thread-compatible.
class GpuMultipliers {
 public:
  // Of what is trained of `model`; `gpu` must outlive them. Possible errors: those of Gpu::Allocate and Gpu::Wait.
  static absl::StatusOr<GpuMultipliers> Create(const Model& model, kernels::cuda::Gpu* gpu);

  // Makes them those of `state`, in the order of what is launched: what it reads of the host must stay as it is until
  // the next Wait. Possible errors: those of Gpu::Allocate.
  absl::Status Bring(const LaneState& state, kernels::Granularity granularity);

  // What products with a layer take, and whether it is one for each of its groups.
  kernels::cuda::Multipliers Of(const GpuLinear& linear) const;
  bool Grouped(const GpuLinear& linear) const {
    return grouped_ && kernels::cuda::ScalesGroups(linear.matrix.format.scales);
  }

  // What is added to an unquantized tensor, by its place in ModelInfo::unquantized, or -1 for none.
  bool has_deltas() const { return delta_unit_ != 0; }
  kernels::cuda::Deltas DeltasOf(int tensor) const;
  // What makes the lanes' own of some vectors, but the lanes. They have deltas.
  kernels::cuda::LaneVectorsParams LanesOf(const GpuVectors& vectors) const;

  // Graphs hold what these have said. Those of one memory may differ in their shape.
  int64_t graph_memory() const { return graph_memory_; }
  int64_t shape() const {
    return (grouped_ ? 1 : 0) | (count_ > 0 ? 2 : 0) | (units_ > 0 ? 4 : 0) | (has_deltas() ? 8 : 0);
  }
  int64_t bytes() const { return static_cast<int64_t>(flat_.bytes() + step_.bytes()); }

 private:
  explicit GpuMultipliers(kernels::cuda::Gpu* gpu) : gpu_(gpu) {}
  absl::Status Upload(const LaneState& state);
  absl::Status Step(const LaneState& state);

  // What a method trains, by its granularity and whether it trains deltas.
  struct Trained {
    method::Partition partition;
    std::vector<kernels::cuda::UpdateTensor> tensors;  // in the partition's order
    GpuMemory device_tensors;
  };
  const Trained& trained() const { return trained_[(grouped_ ? 2 : 0) + (has_deltas() ? 1 : 0)]; }

  kernels::cuda::Gpu* gpu_;
  std::vector<Trained> trained_;
  GpuMemory flat_;              // multipliers, then units
  GpuMemory host_step_, step_;  // a step's directions, then its coefficients
  bool grouped_ = false;
  float delta_unit_ = 0;
  size_t count_ = 0, units_ = 0;
  std::shared_ptr<const void> owner_;
  uint64_t version_ = 0;
  int64_t graph_memory_ = 0;  // of flat_
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_GPU_MULTIPLIERS_H_
