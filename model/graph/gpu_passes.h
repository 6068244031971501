// Forward passes on a GPU. A pass is one upload of tables, one graph of kernels, one download of log-probabilities;
// lanes are perturbed inside the matrix products from the replica's multipliers. Those are uploaded once and then
// change as the replica's do, by the same steps and with the same bits; another replica's, or later ones, are uploaded
// anew. Once a pass of some size has run, the next one like it allocates nothing.
#ifndef QZO_MODEL_GRAPH_GPU_PASSES_H_
#define QZO_MODEL_GRAPH_GPU_PASSES_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/ops.h"
#include "model/graph/gpu_memory.h"
#include "model/graph/gpu_model.h"
#include "model/graph/gpu_tables.h"
#include "model/graph/passes.h"

namespace qzo::model {

class GpuPasses final : public Passes {
 public:
  // Copies the model to `gpu`; both must outlive it. Lanes must have a state (LaneSource::State): else UNIMPLEMENTED.
  // Possible errors: those of GpuModel::Create.
  static absl::StatusOr<std::unique_ptr<GpuPasses>> Create(const Model& model, kernels::cuda::Gpu* gpu);

  absl::Status Run(const Pack& pack, LaneSource* lanes, int64_t first_slot, std::vector<double>* log_probs) override;
  absl::Status Finish(std::vector<double>*) override { return absl::OkStatus(); }
  absl::StatusOr<std::vector<float>> Logits(const Pack& pack, LaneSource* lanes) override;
  int64_t bytes() const override;

  std::string MemoryPlan() const;  // what is held on the device, in words

 private:
  struct View;  // the rows that a layer works on
  struct Places;

  GpuPasses(const Model& model, kernels::cuda::Gpu* gpu, std::unique_ptr<GpuModel> weights);
  absl::Status Prepare(const Pack& pack, LaneSource* lanes);
  absl::Status BringMultipliers(const LaneState& state);
  absl::Status UploadMultipliers(const LaneState& state);
  absl::Status StepMultipliers(const LaneState& state);
  absl::Status Reserve(const GpuCapacity& capacity);
  Places Place(const GpuCapacity& capacity) const;
  int64_t GraphKey() const;

  // These launch.
  void Body();
  void RunLayer(size_t index, const View& all, const View& kept);
  void Norm(const float* weight, const View& view, bool plain);
  void Round(const float* x, int cols, const int32_t* order, const View& view);
  void Linear(const GpuLinear& linear, const View& view, const float* plain, float* y, bool accumulate);
  void AddBranch(const GpuLinear& linear, const float* norm, const View& view, const float* plain);
  void NormHeads(const float* weight, const View& view, int heads, float* x);
  void Rotate(const float* x, const View& view, int heads, const GpuLayer* turned, uint16_t* out);
  void Head(int chunk);
  void Choose(int chunk);
  template <typename T>
  T* Table(size_t offset) const {
    return device_tables_.at<T>(offset);
  }
  const int32_t* CountOf(int count) const { return Table<int32_t>(tables_.counts) + count; }

  const ModelInfo& info_;
  kernels::cuda::Gpu& gpu_;
  const std::unique_ptr<GpuModel> weights_;
  const std::vector<kernels::cuda::UpdateTensor> tensors_[2];  // by granularity: of the partition, in its order
  const int q_dim_, kv_dim_;

  GpuCapacity capacity_;         // of the pass at hand
  GpuCapacity reserved_;         // most of everything so far
  GpuTables tables_{capacity_};  // of capacity_
  GpuMemory host_tables_, device_tables_, host_log_probs_, work_, multipliers_;
  GpuMemory device_tensors_[2];        // tensors_
  GpuMemory host_step_, device_step_;  // a step's directions, and its coefficients
  int64_t generation_ = 0;             // of the memory: graphs hold addresses
  bool grouped_ = false;
  size_t multiplier_count_ = 0, unit_count_ = 0;
  std::shared_ptr<const void> owner_;  // of the multipliers that are there
  uint64_t version_ = 0;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_GPU_PASSES_H_
