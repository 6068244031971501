#include "model/graph/gpu_multipliers.h"

#include <algorithm>

#include "base/status_macros.h"
#include "kernels/cuda/ops.h"
#include "model/graph/replica.h"

namespace qzo::model {

using kernels::cuda::LaneNoise;
using kernels::cuda::UpdateTensor;

absl::StatusOr<GpuMultipliers> GpuMultipliers::Create(const Model& model, kernels::cuda::Gpu* gpu) {
  GpuMultipliers made(gpu);
  for (const auto granularity : {method::Granularity::kChannel, method::Granularity::kGroup}) {
    for (const bool deltas : {false, true}) {
      Trained& trained = made.trained_.emplace_back(
          Trained{.partition = Replica::PartitionOf(model, {.granularity = granularity, .train_unquantized = deltas}),
                  .tensors = {},
                  .device_tensors = {}});
      int blocks = 0;
      for (const method::PartitionTensor& tensor : trained.partition.tensors()) {
        const uint32_t count = static_cast<uint32_t>(tensor.count);
        trained.tensors.push_back({.begin = tensor.offset,
                                   .count = count,
                                   .ordinal = tensor.ordinal,
                                   .first_block = blocks,
                                   .deltas = tensor.shape.deltas,
                                   .unit = tensor.unit});
        blocks += kernels::cuda::UpdateBlocks(count);
      }
      const size_t bytes = trained.tensors.size() * sizeof(UpdateTensor);
      QZO_ASSIGN_OR_RETURN(trained.device_tensors, GpuMemory::Allocate(gpu, bytes));
      gpu->Upload(trained.device_tensors.data(), reinterpret_cast<const std::byte*>(trained.tensors.data()), bytes);
    }
  }
  QZO_RETURN_IF_ERROR(gpu->Wait());
  return made;
}

kernels::cuda::Multipliers GpuMultipliers::Of(const GpuLinear& linear) const {
  if (linear.ordinal < 0 || count_ == 0) return {};
  const method::PartitionTensor& tensor = trained().partition.multiplied(linear.ordinal);
  const float* k = flat_.at<float>();
  return {.k = k + tensor.offset,
          .unit = units_ == 0 ? nullptr : k + count_ + tensor.unit,
          .tensor = tensor.ordinal,
          .first = static_cast<uint32_t>(linear.first_row * (Grouped(linear) ? linear.matrix.groups : 1))};
}

kernels::cuda::Deltas GpuMultipliers::DeltasOf(int tensor) const {
  if (tensor < 0 || !has_deltas()) return {};
  const method::PartitionTensor& added = trained().partition.added(tensor);
  return {.values = flat_.at<float>() + added.offset, .tensor = added.ordinal};
}

kernels::cuda::LaneVectorsParams GpuMultipliers::LanesOf(const GpuVectors& vectors) const {
  const Trained& all = trained();
  const method::PartitionTensor& first = all.partition.added(vectors.first);
  const UpdateTensor* tensor = all.tensors.data() + (&first - all.partition.tensors().data());
  const UpdateTensor& last = tensor[vectors.tensors - 1];
  return {.stored = vectors.values,
          .deltas = flat_.at<float>() + first.offset,
          .begin = first.offset,
          .tensors = all.device_tensors.at<UpdateTensor>(),
          .tensor_count = static_cast<int>(all.tensors.size()),
          .first_block = tensor->first_block,
          .blocks = last.first_block + kernels::cuda::UpdateBlocks(last.count) - tensor->first_block,
          .stride = vectors.count};
}

absl::Status GpuMultipliers::Bring(const LaneState& state, kernels::Granularity granularity) {
  grouped_ = granularity == kernels::Granularity::kGroup;
  delta_unit_ = state.delta_unit;
  const bool same = state.multipliers.size() == count_ && state.units.size() == units_ && state.owner == owner_;
  if (same && state.version == version_) return absl::OkStatus();
  const bool a_step_ago = same && state.version == version_ + 1 && !state.coefficients.empty();
  QZO_RETURN_IF_ERROR(a_step_ago ? Step(state) : Upload(state));
  owner_ = state.owner;
  version_ = state.version;
  return absl::OkStatus();
}

absl::Status GpuMultipliers::Upload(const LaneState& state) {
  const size_t bytes = (state.multipliers.size() + state.units.size()) * sizeof(float);
  count_ = units_ = 0;
  if (bytes > flat_.bytes()) {
    flat_ = GpuMemory();
    graph_memory_ = NewGraphMemory();
    QZO_ASSIGN_OR_RETURN(flat_, GpuMemory::Allocate(gpu_, bytes));
  }
  const auto upload = [&](absl::Span<const float> from, size_t at) {
    if (from.empty()) return;
    gpu_->Upload(flat_.data() + at * sizeof(float), reinterpret_cast<const std::byte*>(from.data()),
                 from.size() * sizeof(float));
  };
  upload(state.multipliers, 0);
  upload(state.units, state.multipliers.size());
  count_ = state.multipliers.size();
  units_ = state.units.size();
  return absl::OkStatus();
}

absl::Status GpuMultipliers::Step(const LaneState& state) {
  const size_t probes = state.keys.size(), coefficients_at = probes * sizeof(LaneNoise);
  const size_t bytes = coefficients_at + probes * sizeof(float);
  if (host_step_.bytes() < bytes) {
    QZO_ASSIGN_OR_RETURN(step_, GpuMemory::Allocate(gpu_, bytes));
    QZO_ASSIGN_OR_RETURN(host_step_, GpuMemory::Allocate(gpu_, bytes, GpuMemory::Where::kHost));
  }
  for (size_t i = 0; i < probes; ++i) host_step_.at<LaneNoise>()[i] = NoiseOf({.key = state.keys[i]}, 0);
  std::copy(state.coefficients.begin(), state.coefficients.end(), host_step_.at<float>(coefficients_at));
  gpu_->Upload(step_.data(), host_step_.data(), bytes);
  const std::vector<UpdateTensor>& tensors = trained().tensors;
  float* k = flat_.at<float>();
  gpu_->ops().update(gpu_->stream(),
                     {.k = k,
                      .unit = units_ == 0 ? nullptr : k + count_,
                      .delta_unit = delta_unit_,
                      .tensors = trained().device_tensors.at<UpdateTensor>(),
                      .tensor_count = static_cast<int>(tensors.size()),
                      .blocks = tensors.back().first_block + kernels::cuda::UpdateBlocks(tensors.back().count),
                      .probes = step_.at<LaneNoise>(),
                      .coefficients = step_.at<float>(coefficients_at),
                      .probe_count = static_cast<int>(probes)});
  return absl::OkStatus();
}

}  // namespace qzo::model
