#include "model/graph/model.h"

#include <spdlog/spdlog.h>

#include <cmath>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "kernels/weights.h"
#include "model/formats/model_files.h"
#include "model/graph/rope.h"

namespace qzo::model {
namespace {

// ReadModelInfo lets only types pass that the kernels know by the same name.
kernels::WeightType ToWeightType(GgmlType type) {
  const std::optional<kernels::WeightType> known =
      kernels::FindWeightType(FindGgmlType(static_cast<uint32_t>(type))->name);
  QZO_CHECK(known.has_value());
  return *known;
}

kernels::WeightMatrix Matrix(const GgufFile& file, std::string_view name) {
  const GgufTensor* tensor = file.FindTensor(name);
  QZO_CHECK(tensor != nullptr);
  return {.type = ToWeightType(tensor->type),
          .data = reinterpret_cast<const std::byte*>(tensor->bytes.data()),
          .rows = tensor->dims.size() == 1 ? 1 : tensor->dims[1],
          .cols = tensor->dims[0]};
}

int64_t MappedBytes(const kernels::WeightMatrix& matrix) {
  return matrix.rows * (matrix.cols / kernels::BlockValues(matrix.type)) * kernels::BlockBytes(matrix.type);
}

int64_t MappedBytes(const CheckpointLinear& linear) {
  int64_t bytes = 0;
  for (const SafetensorsTensor* tensor :
       {linear.weight, linear.zeros, linear.scales, linear.indices, linear.codebook}) {
    if (tensor != nullptr) bytes += static_cast<int64_t>(tensor->bytes.size());
  }
  return bytes;
}

std::vector<float> Vector(const kernels::WeightMatrix& matrix) {
  std::vector<float> values(static_cast<size_t>(matrix.cols));
  kernels::DequantizeRow(matrix, 0, values.data());
  return values;
}

// Rows [first, first + rows) of `matrix`.
LinearLayer Slice(const kernels::WeightMatrix& matrix, int part, int64_t first, int64_t rows,
                  absl::Span<const float> bias) {
  LinearLayer slice;
  static_cast<kernels::WeightMatrix&>(slice) = matrix;
  slice.data += first * (matrix.cols / kernels::BlockValues(matrix.type) * kernels::BlockBytes(matrix.type));
  if (slice.scales != nullptr) slice.scales += first * (matrix.cols / matrix.group);
  slice.rows = rows;
  slice.part = part;
  slice.first_row = first;
  if (!bias.empty()) bias = bias.subspan(static_cast<size_t>(first), static_cast<size_t>(rows));
  slice.bias.assign(bias.begin(), bias.end());
  return slice;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const std::string& path, LayerRange range,
                                                   const PackedLayers* packed) {
  QZO_ASSIGN_OR_RETURN(ModelFiles files, OpenModelFiles(path));
  if (files.gguf != nullptr) return Load(std::move(files.gguf), range);
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, MakeTokenizer(*files.checkpoint));
  return Load(std::move(files.checkpoint), std::move(tokenizer), range, packed);
}

absl::StatusOr<std::unique_ptr<Model>> Model::Load(std::unique_ptr<GgufFile> file, LayerRange range) {
  std::unique_ptr<Model> model(new Model);
  QZO_ASSIGN_OR_RETURN(model->info_, ReadModelInfo(*file));
  QZO_ASSIGN_OR_RETURN(model->tokenizer_, MakeTokenizer(*file));
  model->file_ = std::move(file);
  QZO_RETURN_IF_ERROR(model->SetRange(range));
  QZO_RETURN_IF_ERROR(model->Build([&](const std::string& name) {
    const kernels::WeightMatrix matrix = Matrix(*model->file_, name);
    model->mapped_bytes_ += MappedBytes(matrix);
    return matrix;
  }));
  return model;
}

absl::StatusOr<std::unique_ptr<Model>> Model::Load(std::unique_ptr<Checkpoint> checkpoint,
                                                   std::unique_ptr<Tokenizer> tokenizer, LayerRange range,
                                                   const PackedLayers* packed) {
  std::unique_ptr<Model> model(new Model);
  QZO_ASSIGN_OR_RETURN(CheckpointInfo read, ReadCheckpointInfo(*checkpoint));
  model->info_ = std::move(read.info);
  model->tokenizer_ = std::move(tokenizer);
  model->checkpoint_ = std::move(checkpoint);
  QZO_RETURN_IF_ERROR(model->SetRange(range));
  std::vector<std::optional<PackedView>> views(read.linears.size());
  if (packed != nullptr) {
    if (const absl::Status opened = model->OpenPacked(*packed, read.linears, &views); !opened.ok()) {
      spdlog::warn("{}: what is repacked takes memory of this process alone: {}", model->path(), opened.ToString());
    }
  }
  model->packed_.reserve(read.linears.size());
  absl::flat_hash_map<std::string, size_t> linears;
  for (size_t i = 0; i < read.linears.size(); ++i) linears[read.linears[i].name] = i;
  QZO_RETURN_IF_ERROR(model->Build([&](const std::string& name) {
    if (const auto found = linears.find(name); found != linears.end()) {
      const CheckpointLinear& linear = read.linears[found->second];
      model->mapped_bytes_ += MappedBytes(linear) - ReleasedBytes(linear);
      if (const auto& view = views[found->second]; view.has_value()) return MatrixOf(linear, *view);
      const kernels::WeightMatrix matrix = model->Add(linear);
      model->Release(linear);
      return matrix;
    }
    const kernels::WeightMatrix matrix = MatrixOf(*model->checkpoint_->FindTensor(name));
    model->mapped_bytes_ += MappedBytes(matrix);
    return matrix;
  }));
  return model;
}

absl::Status Model::OpenPacked(const PackedLayers& files, absl::Span<const CheckpointLinear> linears,
                               std::vector<std::optional<PackedView>>* views) {
  const auto per_layer = static_cast<size_t>(info_.trained_per_layer());
  for (int layer = range_.begin; layer < range_.end; ++layer) {
    std::vector<size_t> places;
    std::vector<const CheckpointLinear*> packed;
    for (size_t i = static_cast<size_t>(layer) * per_layer; i < static_cast<size_t>(layer + 1) * per_layer; ++i) {
      if (RepackedBytes(linears[i]) == 0) continue;
      places.push_back(i);
      packed.push_back(&linears[i]);
    }
    if (packed.empty()) continue;
    QZO_RETURN_IF_ERROR(files.fs()->CreateDirectories(files.directory()));
    QZO_ASSIGN_OR_RETURN(std::unique_ptr<PackedLayer> opened, PackedLayer::OpenOrWrite(files, layer, packed));
    for (size_t i = 0; i < places.size(); ++i) {
      (*views)[places[i]] = opened->view(i);
      Release(*packed[i]);
    }
    packed_layers_.push_back(std::move(opened));
  }
  return absl::OkStatus();
}

absl::Status Model::SetRange(LayerRange range) {
  range_ = {range.begin, range == LayerRange{} ? info_.layers : range.end};
  if (range_.begin < 0 || range_.begin >= range_.end || range_.end > info_.layers) {
    return absl::InvalidArgumentError(
        absl::StrCat(path(), ": layers [", range_.begin, ", ", range_.end, "), expected some of its ", info_.layers));
  }
  if (tokenizer_->vocab_size() > info_.vocabulary) {
    return absl::InvalidArgumentError(absl::StrCat(path(), ": the tokenizer has ", tokenizer_->vocab_size(),
                                                   " tokens, the embedding ", info_.vocabulary, " rows"));
  }
  return absl::OkStatus();
}

absl::Status Model::Build(const Find& find) {
  if (has_first_layer()) {
    embedding_ = find(info_.embedding.weight);
    if (!info_.positions.weight.empty()) positions_ = find(info_.positions.weight);
  }
  if (has_last_layer()) {
    head_ = find(info_.head.weight);
    output_norm_ = MakeNorm(info_.output_norm, find);
  }
  for (int layer = range_.begin; layer < range_.end; ++layer) layers_.push_back(MakeLayer(layer, find));
  if (info_.rotary_dim == 0) return absl::OkStatus();
  const auto divisors = [&](const std::string& tensor) {
    return tensor.empty() ? std::vector<float>() : Vector(find(tensor));
  };
  rope_ =
      MakeRopeTable(info_, info_.rope, divisors(info_.rope.divisors_tensor), divisors(info_.rope.long_divisors_tensor));
  if (info_.local_rope.has_value()) local_rope_ = MakeRopeTable(info_, *info_.local_rope, {}, {});
  return absl::OkStatus();
}

NormWeights Model::MakeNorm(const TensorNames& names, const Find& find) const {
  NormWeights norm;
  norm.weight = Vector(find(names.weight));
  norm.weight_deltas = info_.FindUnquantized(names.weight);
  if (info_.norm_shift != 0) {
    for (float& weight : norm.weight) weight += info_.norm_shift;
  }
  if (names.bias.empty()) return norm;
  norm.bias = Vector(find(names.bias));
  norm.bias_deltas = info_.FindUnquantized(names.bias);
  return norm;
}

Layer Model::MakeLayer(int index, const Find& find) const {
  Layer layer;
  layer.trained_base = info_.trained_per_layer() * index;
  layer.local = info_.IsLocal(index);
  const int64_t q = int64_t{info_.heads} * info_.head_dim, kv = int64_t{info_.kv_heads} * info_.head_dim;
  const int64_t wide = info_.feed_forward_length;
  for (const auto& [part, names] : info_.blocks[static_cast<size_t>(index)]) {
    const auto norm = [&, &stored = names] { return MakeNorm(stored, find); };
    // Rows of the trained tensor, which the first of its slices adds.
    const auto slice = [&, &stored = names](int64_t first, int64_t rows) {
      if (first == 0) layer.trained.push_back(find(stored.weight));
      const std::vector<float> bias = stored.bias.empty() ? std::vector<float>() : Vector(find(stored.bias));
      LinearLayer linear = Slice(layer.trained.back(), static_cast<int>(layer.trained.size()) - 1, first, rows, bias);
      if (!bias.empty()) linear.bias_deltas = info_.FindUnquantized(stored.bias);
      return linear;
    };
    switch (part) {
      case Part::kAttentionNorm:
        layer.attention_norm = norm();
        break;
      case Part::kPostAttentionNorm:
        layer.post_attention_norm = norm();
        break;
      case Part::kFeedForwardNorm:
        layer.feed_forward_norm = norm();
        break;
      case Part::kPostFeedForwardNorm:
        layer.post_feed_forward_norm = norm();
        break;
      case Part::kQNorm:
        layer.q_norm = norm();
        break;
      case Part::kKNorm:
        layer.k_norm = norm();
        break;
      case Part::kQ:
        layer.q = slice(0, q);
        break;
      case Part::kK:
        layer.k = slice(0, kv);
        break;
      case Part::kV:
        layer.v = slice(0, kv);
        break;
      case Part::kQkv:
        layer.q = slice(0, q);
        layer.k = slice(q, kv);
        layer.v = slice(q + kv, kv);
        break;
      case Part::kAttentionOutput:
        layer.attention_output = slice(0, info_.embedding_length);
        break;
      case Part::kGate:
        layer.gate = slice(0, wide);
        break;
      case Part::kUp:
        layer.up = slice(0, wide);
        break;
      case Part::kGateUp:
        layer.gate = slice(0, wide);
        layer.up = slice(wide, wide);
        break;
      case Part::kDown:
        layer.down = slice(0, info_.embedding_length);
        break;
    }
  }
  return layer;
}

kernels::WeightMatrix Model::Add(const CheckpointLinear& linear) {
  if (RepackedBytes(linear) == 0) return MatrixOf(linear, {});
  return MatrixOf(linear, ViewOf(packed_.emplace_back(PackLinear(linear))));
}

void Model::Release(const CheckpointLinear& linear) const {
  if (ReleasedBytes(linear) == 0) return;
  for (const SafetensorsTensor* source : {linear.weight, linear.zeros, linear.scales, linear.indices}) {
    if (source != nullptr) checkpoint_->Release(*source);
  }
}

const GgufFile& Model::file() const {
  QZO_CHECK(from_gguf());
  return *file_;
}

const Checkpoint& Model::checkpoint() const {
  QZO_CHECK(!from_gguf());
  return *checkpoint_;
}

const std::string& Model::path() const { return from_gguf() ? file_->path() : checkpoint_->path(); }

std::string Model::Digest() const { return from_gguf() ? file_->Digest() : checkpoint_->Digest(); }

int64_t Model::resident_bytes() const {
  int64_t bytes = whole() ? info_.file_bytes - info_.released_bytes : mapped_bytes_;
  for (const std::unique_ptr<PackedLayer>& layer : packed_layers_) bytes += layer->bytes();
  for (const PackedLinear& packed : packed_) {
    bytes += static_cast<int64_t>(packed.bytes.size() + packed.scales.size() * sizeof(float));
  }
  return bytes;
}

const kernels::WeightMatrix& Model::Trained(int ordinal) const {
  const int per_layer = info_.trained_per_layer();
  return layer(ordinal / per_layer).trained.at(static_cast<size_t>(ordinal % per_layer));
}

absl::StatusOr<std::vector<float>> Model::Units(int ordinal, method::Granularity granularity) const {
  const method::TensorShape& shape = info_.trained.at(static_cast<size_t>(ordinal));
  const kernels::WeightMatrix& matrix = Trained(ordinal);
  const auto failed = [&](std::string_view why) {
    return absl::FailedPreconditionError(absl::StrCat(path(), ": tensor '", shape.name, "' (",
                                                      std::string(kernels::WeightTypeName(matrix.type)), ") ",
                                                      std::string(why)));
  };
  if (kernels::BlockValues(matrix.type) == 1) return failed("has no scales, which the absolute mode moves");
  if (granularity == method::Granularity::kChannel && shape.group != shape.cols) {
    return failed("has several scales a row: the absolute mode needs the granularity GROUP");
  }
  const int64_t row_bytes = matrix.cols / kernels::BlockValues(matrix.type) * kernels::BlockBytes(matrix.type);
  const int64_t groups = shape.cols / shape.group;
  const auto scale_of = [&](int64_t row, int64_t group) {
    if (kernels::HasCodebook(matrix.type)) return matrix.scales[row * groups + group];
    const int64_t k = group * shape.group;
    kernels::CodeBlock block;
    kernels::DecodeCodes(matrix.type, matrix.data + row * row_bytes, k / 32 * 32, &block);
    return block.scale[k % 32 / 16];
  };
  std::vector<float> units;
  units.reserve(static_cast<size_t>(shape.rows * groups));
  for (int64_t row = 0; row < shape.rows; ++row) {
    for (int64_t group = 0; group < groups; ++group) {
      const float scale = scale_of(row, group);
      if (!std::isfinite(scale)) return failed(absl::StrCat("has the scale ", scale, " in group ", units.size()));
      units.push_back(scale == 0 ? 0 : 1 / scale);
    }
  }
  return units;
}

}  // namespace qzo::model
