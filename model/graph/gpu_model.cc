#include "model/graph/gpu_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/cuda/ops.h"

namespace qzo::model {

using kernels::cuda::Gpu;

absl::StatusOr<const std::byte*> GpuModel::Copy(const void* from, size_t bytes) {
  if (bytes == 0) return nullptr;
  QZO_ASSIGN_OR_RETURN(GpuMemory memory, GpuMemory::Allocate(&gpu_, bytes));
  gpu_.Upload(memory.data(), static_cast<const std::byte*>(from), bytes);
  bytes_ += static_cast<int64_t>(bytes);
  return memory_.emplace_back(std::move(memory)).data();
}

absl::StatusOr<const float*> GpuModel::CopyFloats(absl::Span<const float> values) {
  QZO_ASSIGN_OR_RETURN(const std::byte* copy, Copy(values.data(), values.size() * sizeof(float)));
  return reinterpret_cast<const float*>(copy);
}

absl::StatusOr<GpuLinear> GpuModel::CopyLinear(const kernels::WeightMatrix& w, int ordinal) {
  const kernels::cuda::PackedMatrix packed = kernels::cuda::PackMatrix(w);
  GpuLinear linear{.matrix = packed.shape, .ordinal = ordinal};
  QZO_ASSIGN_OR_RETURN(linear.matrix.codes, Copy(packed.codes.data(), packed.codes.size()));
  QZO_ASSIGN_OR_RETURN(linear.matrix.records, Copy(packed.records.data(), packed.records.size()));
  QZO_ASSIGN_OR_RETURN(linear.matrix.supers, Copy(packed.supers.data(), packed.supers.size()));
  if (w.order != nullptr) {
    QZO_ASSIGN_OR_RETURN(const std::byte* order, Copy(w.order, static_cast<size_t>(w.cols) * sizeof(int32_t)));
    linear.order = reinterpret_cast<const int32_t*>(order);
  }
  QZO_RETURN_IF_ERROR(gpu_.Wait());  // `packed` goes
  return linear;
}

absl::StatusOr<std::unique_ptr<GpuModel>> GpuModel::Create(const Model& model, Gpu* gpu) {
  const ModelInfo& info = model.info();
  if (!kernels::cuda::SupportsHead(info.head_dim)) {
    return absl::UnimplementedError(
        absl::StrCat(model.path(), ": heads of ", info.head_dim, ": GPUs take multiples of 8 up to 128"));
  }
  std::unique_ptr<GpuModel> made(new GpuModel(gpu));
  constexpr std::pair<kernels::WeightMatrix Layer::*, GpuLinear GpuLayer::*> kLinears[kTrainedPerLayer] = {
      {&Layer::q, &GpuLayer::q},       {&Layer::k, &GpuLayer::k},
      {&Layer::v, &GpuLayer::v},       {&Layer::attention_output, &GpuLayer::attention_output},
      {&Layer::gate, &GpuLayer::gate}, {&Layer::up, &GpuLayer::up},
      {&Layer::down, &GpuLayer::down}};
  for (const Layer& layer : model.layers()) {
    GpuLayer& copy = made->layers_.emplace_back();
    QZO_ASSIGN_OR_RETURN(copy.attention_norm, made->CopyFloats(layer.attention_norm));
    QZO_ASSIGN_OR_RETURN(copy.feed_forward_norm, made->CopyFloats(layer.feed_forward_norm));
    for (int i = 0; i < kTrainedPerLayer; ++i) {
      QZO_ASSIGN_OR_RETURN(copy.*kLinears[i].second,
                           made->CopyLinear(layer.*kLinears[i].first, layer.trained_base + i));
    }
  }
  QZO_ASSIGN_OR_RETURN(made->head_, made->CopyLinear(model.head(), -1));
  made->embedding_ = made->head_.matrix;
  if (!info.tied_head) {
    QZO_ASSIGN_OR_RETURN(const GpuLinear embedding, made->CopyLinear(model.embedding(), -1));
    made->embedding_ = embedding.matrix;
  }
  QZO_ASSIGN_OR_RETURN(made->output_norm_, made->CopyFloats(model.output_norm()));
  QZO_ASSIGN_OR_RETURN(made->cos_, made->CopyFloats(model.rope().cos));
  QZO_ASSIGN_OR_RETURN(made->sin_, made->CopyFloats(model.rope().sin));
  QZO_RETURN_IF_ERROR(gpu->Wait());
  return made;
}

}  // namespace qzo::model
