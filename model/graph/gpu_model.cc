#include "model/graph/gpu_model.h"

#include <algorithm>
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
  QZO_ASSIGN_OR_RETURN(linear.matrix.books, Copy(packed.books.data(), packed.books.size()));
  if (w.order != nullptr) {
    QZO_ASSIGN_OR_RETURN(const std::byte* order, Copy(w.order, static_cast<size_t>(w.cols) * sizeof(int32_t)));
    linear.order = reinterpret_cast<const int32_t*>(order);
  }
  QZO_RETURN_IF_ERROR(gpu_.Wait());  // `packed` goes
  return linear;
}

namespace {

constexpr std::pair<LinearLayer Layer::*, GpuLinear GpuLayer::*> kLinears[] = {
    {&Layer::q, &GpuLayer::q},       {&Layer::k, &GpuLayer::k},
    {&Layer::v, &GpuLayer::v},       {&Layer::attention_output, &GpuLayer::attention_output},
    {&Layer::gate, &GpuLayer::gate}, {&Layer::up, &GpuLayer::up},
    {&Layer::down, &GpuLayer::down}};

// What passes on a GPU do not have yet, or "".
std::string Missing(const ModelInfo& info) {
  if (!kernels::cuda::SupportsHead(info.head_dim)) {
    return absl::StrCat("heads of ", info.head_dim, " (GPUs take multiples of 8 up to 256)");
  }
  if (info.embedding_length % 4 != 0) {
    return absl::StrCat("embeddings of ", info.embedding_length, " (GPUs take multiples of 4)");
  }
  return "";
}

}  // namespace

// Vectors on their way to a device, and who wants to know where they are there.
class GpuModel::VectorCollector {
 public:
  // Of `tensors` tensors from place `first` among ModelInfo::unquantized on.
  VectorCollector(const ModelInfo& info, int first, int tensors) : first_(first) {
    int64_t count = 0;
    for (int i = first; i < first + tensors; ++i) {
      begins_.push_back(count);
      count += info.unquantized[static_cast<size_t>(i)].cols;
    }
    values_.resize(static_cast<size_t>(count));
  }
  // What is values [begin, …) of `tensor`; nothing, if there are none.
  void Add(absl::Span<const float> values, int tensor, int64_t begin, const float** wanted) {
    if (values.empty()) return;
    const int64_t at = begins_.at(static_cast<size_t>(tensor - first_)) + begin;
    std::copy(values.begin(), values.end(), values_.begin() + at);
    wanted_.push_back({wanted, at});
  }
  void Add(const NormWeights& norm, GpuNorm* wanted) {
    Add(norm.weight, norm.weight_deltas, 0, &wanted->weight);
    Add(norm.bias, norm.bias_deltas, 0, &wanted->bias);
  }
  absl::Span<const float> values() const { return values_; }
  GpuVectors Tell(const float* copy) const {
    for (const auto& [wanted, at] : wanted_) *wanted = copy + at;
    return {.values = copy,
            .count = static_cast<int64_t>(values_.size()),
            .first = first_,
            .tensors = static_cast<int>(begins_.size())};
  }

 private:
  const int first_;
  std::vector<int64_t> begins_;
  std::vector<float> values_;
  std::vector<std::pair<const float**, int64_t>> wanted_;
};

absl::Status GpuModel::CopyVectors(const VectorCollector& vectors, GpuVectors* copy) {
  QZO_ASSIGN_OR_RETURN(const float* values, CopyFloats(vectors.values()));
  *copy = vectors.Tell(values);
  return gpu_.Wait();  // `vectors` goes
}

absl::Status GpuModel::CopyLayer(const ModelInfo& info, const Layer& layer, int first_vector, GpuLayer* copy) {
  VectorCollector vectors(info, first_vector, info.unquantized_per_layer);
  for (const auto& [from, to] : {std::pair{&layer.attention_norm, &copy->attention_norm},
                                 {&layer.feed_forward_norm, &copy->feed_forward_norm},
                                 {&layer.post_attention_norm, &copy->post_attention_norm},
                                 {&layer.post_feed_forward_norm, &copy->post_feed_forward_norm},
                                 {&layer.q_norm, &copy->q_norm},
                                 {&layer.k_norm, &copy->k_norm}}) {
    vectors.Add(*from, to);
  }
  for (const auto& [from, to] : kLinears) {
    const LinearLayer& linear = layer.*from;
    if (linear.rows == 0) continue;  // no gate
    QZO_ASSIGN_OR_RETURN(copy->*to, CopyLinear(linear, layer.trained_base + linear.part));
    vectors.Add(linear.bias, linear.bias_deltas, linear.first_row, &(copy->*to).bias);
    (copy->*to).first_row = static_cast<int>(linear.first_row);
  }
  return CopyVectors(vectors, &copy->vectors);
}

absl::StatusOr<std::unique_ptr<GpuModel>> GpuModel::Create(const Model& model, Gpu* gpu) {
  const ModelInfo& info = model.info();
  if (const std::string missing = Missing(info); !missing.empty()) {
    return absl::UnimplementedError(
        absl::StrCat(model.path(), ": ", missing, ": not on GPUs yet; --device cpu runs it"));
  }
  std::unique_ptr<GpuModel> made(new GpuModel(gpu));
  const float* tables[2][2] = {};  // [local][cosines, sines]
  for (const bool local : {false, true}) {
    if (local && !info.local_rope.has_value()) {
      std::copy_n(tables[0], 2, tables[1]);
      continue;
    }
    const kernels::RopeTable& rope = local ? model.local_rope() : model.rope();
    QZO_ASSIGN_OR_RETURN(tables[local][0], made->CopyFloats(rope.cos));
    QZO_ASSIGN_OR_RETURN(tables[local][1], made->CopyFloats(rope.sin));
  }
  int vector = info.unquantized_embeddings + model.range().begin * info.unquantized_per_layer;
  for (const Layer& layer : model.layers()) {
    GpuLayer& copy = made->layers_.emplace_back();
    copy.cos = tables[layer.local][0];
    copy.sin = tables[layer.local][1];
    copy.window = layer.local ? info.window : 0;
    QZO_RETURN_IF_ERROR(made->CopyLayer(info, layer, vector, &copy));
    vector += info.unquantized_per_layer;
  }
  if (model.has_last_layer()) {
    QZO_ASSIGN_OR_RETURN(made->head_, made->CopyLinear(model.head(), -1));
  }
  if (info.tied_head && model.whole()) {
    made->embedding_ = made->head_.matrix;
  } else if (model.has_first_layer()) {
    QZO_ASSIGN_OR_RETURN(const GpuLinear embedding, made->CopyLinear(model.embedding(), -1));
    made->embedding_ = embedding.matrix;
  }
  if (model.positions().rows != 0) {
    QZO_ASSIGN_OR_RETURN(const GpuLinear positions, made->CopyLinear(model.positions(), -1));
    made->positions_ = positions.matrix;
  }
  if (model.has_last_layer()) {
    const NormWeights& norm = model.output_norm();
    VectorCollector vectors(info, norm.weight_deltas, norm.bias.empty() ? 1 : 2);
    vectors.Add(norm, &made->output_norm_);
    QZO_RETURN_IF_ERROR(made->CopyVectors(vectors, &made->output_vectors_));
  }
  QZO_RETURN_IF_ERROR(gpu->Wait());
  return made;
}

}  // namespace qzo::model
