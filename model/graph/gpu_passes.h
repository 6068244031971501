// Forward passes on a GPU, of a whole model or of one stage of a pipeline. A pass is one upload of tables, one graph of
// kernels, one download of log-probabilities; lanes are perturbed inside the matrix products. A stage's residual stream
// comes and goes as it is, by way of the host or from device to device, so that a pipeline's bits are those of one
// worker of its kind. Once a pass of some size has run, the next one like it allocates nothing.
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
#include "model/graph/gpu_multipliers.h"
#include "model/graph/gpu_tables.h"
#include "model/graph/passes.h"
#include "model/graph/stage_passes.h"

namespace qzo::model {

class GpuPasses final : public Passes {
 public:
  // Copies the model to `gpu`. The arguments must outlive it; `seam` is what a stage has around it, and wanted of a
  // model that is not whole. Lanes must have a state (LaneSource::State): else UNIMPLEMENTED. Possible errors: those of
  // GpuModel::Create.
  static absl::StatusOr<std::unique_ptr<GpuPasses>> Create(const Model& model, kernels::cuda::Gpu* gpu,
                                                           StageSeam* seam = nullptr);

  absl::Status Run(const Pack& pack, LaneSource* lanes, int64_t first_slot, std::vector<double>* log_probs) override;
  absl::Status Finish(std::vector<double>*) override { return absl::OkStatus(); }
  absl::StatusOr<std::vector<float>> Logits(const Pack& pack, LaneSource* lanes) override;
  int64_t bytes() const override;

  std::string MemoryPlan() const;  // what is held on the device, in words

 private:
  struct View;  // the rows that a layer works on
  struct Places;

  GpuPasses(const Model& model, kernels::cuda::Gpu* gpu, StageSeam* seam, std::unique_ptr<GpuModel> weights,
            GpuMultipliers multipliers);
  absl::Status Prepare(const Pack& pack, LaneSource* lanes);
  absl::Status Compute(const Pack& pack, LaneSource* lanes, int64_t first_slot, std::vector<double>* log_probs);
  GpuCapacity Most(const GpuCapacity& capacity) const;  // of it and everything so far
  absl::Status Reserve(const GpuCapacity& capacity);
  Places Place(const GpuCapacity& capacity) const;
  kernels::cuda::GraphKey KeyOfGraph() const;
  bool ReceivesOnHost() const { return !model_.has_first_layer() && !seam_->receives_on_device(); }
  bool SendsOnHost() const { return !model_.has_last_layer() && !seam_->sends_on_device(); }

  // These launch.
  void Body();
  void RunLayer(size_t index, const View& all, const View& kept);
  void MakeVectors(const GpuVectors& vectors);  // the lanes' own, where they have deltas
  kernels::cuda::LaneVector OfLanes(const float* stored, const View& view) const;
  void Norm(const GpuNorm& norm, const View& view, bool plain);
  void Round(const float* x, int cols, const int32_t* order, const View& view);
  void Linear(const GpuLinear& linear, const View& view, const float* plain, float* y, bool accumulate);
  void AddBranch(const GpuLinear& linear, const GpuNorm& norm, const View& view, const float* plain);
  void NormHeads(const float* weight, const View& view, int heads, float* x);
  void Rotate(const float* x, const View& view, int heads, const GpuLayer* turned, uint16_t* out);
  void Head(int chunk);
  void Choose(int chunk);
  template <typename T>
  T* Table(size_t offset) const {
    return device_tables_.at<T>(offset);
  }
  const int32_t* CountOf(int count) const { return Table<int32_t>(tables_.counts) + count; }

  const Model& model_;
  const ModelInfo& info_;
  kernels::cuda::Gpu& gpu_;
  StageSeam* const seam_;
  const std::unique_ptr<GpuModel> weights_;
  const int q_dim_, kv_dim_;
  const int embedding_deltas_, position_deltas_, head_deltas_;  // places among ModelInfo::unquantized

  GpuCapacity capacity_;         // of the pass at hand
  GpuCapacity reserved_;         // most of everything so far
  GpuTables tables_{capacity_};  // of capacity_
  GpuMemory host_tables_, device_tables_, host_log_probs_, host_rows_, work_;
  int64_t graph_memory_ = 0;  // of all of it, but the multipliers'
  GpuMultipliers multipliers_;
  GpuVectors made_;  // what MakeVectors made the lanes' own of
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_GPU_PASSES_H_
