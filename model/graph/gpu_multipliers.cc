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
    const size_t at = granularity == method::Granularity::kGroup ? 1 : 0;
    int blocks = 0;
    const method::Partition partition = Replica::PartitionOf(model, {.granularity = granularity});
    for (const method::PartitionTensor& tensor : partition.tensors()) {
      const uint32_t count = static_cast<uint32_t>(tensor.count);
      made.tensors_[at].push_back(
          {.begin = tensor.offset, .count = count, .ordinal = tensor.ordinal, .first_block = blocks});
      blocks += kernels::cuda::UpdateBlocks(count);
    }
    const std::vector<UpdateTensor>& tensors = made.tensors_[at];
    QZO_ASSIGN_OR_RETURN(made.device_tensors_[at], GpuMemory::Allocate(gpu, tensors.size() * sizeof(UpdateTensor)));
    gpu->Upload(made.device_tensors_[at].data(), reinterpret_cast<const std::byte*>(tensors.data()),
                made.device_tensors_[at].bytes());
  }
  QZO_RETURN_IF_ERROR(gpu->Wait());
  return made;
}

kernels::cuda::Multipliers GpuMultipliers::Of(const GpuLinear& linear) const {
  if (linear.ordinal < 0 || count_ == 0) return {};
  const std::vector<UpdateTensor>& tensors = tensors_[grouped_ ? 1 : 0];
  const int64_t begin = tensors[static_cast<size_t>(linear.ordinal) - tensors.front().ordinal].begin;
  const float* k = flat_.at<float>();
  return {.k = k + begin,
          .unit = units_ == 0 ? nullptr : k + count_ + begin,
          .tensor = static_cast<uint32_t>(linear.ordinal),
          .first = static_cast<uint32_t>(linear.first_row * (Grouped(linear) ? linear.matrix.groups : 1))};
}

absl::Status GpuMultipliers::Bring(const LaneState& state, kernels::Granularity granularity) {
  grouped_ = granularity == kernels::Granularity::kGroup;
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
    ++generation_;
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
  for (size_t i = 0; i < probes; ++i) host_step_.at<LaneNoise>()[i] = NoiseOf({.key = state.keys[i]});
  std::copy(state.coefficients.begin(), state.coefficients.end(), host_step_.at<float>(coefficients_at));
  gpu_->Upload(step_.data(), host_step_.data(), bytes);
  const std::vector<UpdateTensor>& tensors = tensors_[grouped_ ? 1 : 0];
  float* k = flat_.at<float>();
  gpu_->ops().update(gpu_->stream(),
                     {.k = k,
                      .unit = units_ == 0 ? nullptr : k + count_,
                      .tensors = device_tensors_[grouped_ ? 1 : 0].at<UpdateTensor>(),
                      .tensor_count = static_cast<int>(tensors.size()),
                      .blocks = tensors.back().first_block + kernels::cuda::UpdateBlocks(tensors.back().count),
                      .probes = step_.at<LaneNoise>(),
                      .coefficients = step_.at<float>(coefficients_at),
                      .probe_count = static_cast<int>(probes)});
  return absl::OkStatus();
}

}  // namespace qzo::model
