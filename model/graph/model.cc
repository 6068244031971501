#include "model/graph/model.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numbers>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "kernels/exact_math.h"
#include "kernels/weights.h"

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

kernels::WeightMatrix Matrix(const SafetensorsTensor& tensor) {
  const std::optional<kernels::WeightType> type = kernels::FindWeightType(SafetensorsTypeName(tensor.type));
  QZO_CHECK(type.has_value() && kernels::BlockValues(*type) == 1);
  return {.type = *type,
          .data = reinterpret_cast<const std::byte*>(tensor.bytes.data()),
          .rows = tensor.dims.size() == 1 ? 1 : tensor.dims[0],
          .cols = tensor.dims.back()};
}

std::vector<float> Vector(const kernels::WeightMatrix& matrix) {
  std::vector<float> values(static_cast<size_t>(matrix.cols));
  kernels::DequantizeRow(matrix, 0, values.data());
  return values;
}

std::vector<float> Vector(const GgufFile& file, std::string_view name) { return Vector(Matrix(file, name)); }

// In the partition's order.
constexpr kernels::WeightMatrix Layer::*kTrained[7] = {&Layer::q,    &Layer::k,  &Layer::v,   &Layer::attention_output,
                                                       &Layer::gate, &Layer::up, &Layer::down};

std::vector<float> Llama3Divisors(const ModelInfo& info) {
  const Llama3Scaling& scaling = *info.rope_scaling;
  std::vector<float> divisors;
  for (int i = 0; i < info.rotary_dim / 2; ++i) {
    const double turns_per_position =
        kernels::Pow(double{info.rope_base}, -2.0 * i / info.rotary_dim) / (2 * std::numbers::pi);
    const double turns = scaling.context * turns_per_position;
    const double kept = std::clamp((turns - scaling.low) / (scaling.high - scaling.low), 0.0, 1.0);
    divisors.push_back(static_cast<float>(1 / ((1 - kept) / scaling.factor + kept)));
  }
  return divisors;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    QZO_ASSIGN_OR_RETURN(std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(path));
    QZO_ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, MakeTokenizerFromDirectory(path));
    return Load(std::move(checkpoint), std::move(tokenizer));
  }
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> file, GgufFile::Open(path));
  return Load(std::move(file));
}

absl::StatusOr<std::unique_ptr<Model>> Model::Load(std::unique_ptr<GgufFile> file) {
  std::unique_ptr<Model> model(new Model);
  QZO_ASSIGN_OR_RETURN(model->info_, ReadModelInfo(*file));
  QZO_ASSIGN_OR_RETURN(model->tokenizer_, MakeTokenizer(*file));
  const ModelInfo& info = model->info_;
  model->embedding_ = Matrix(*file, "token_embd.weight");
  model->head_ = info.tied_head ? model->embedding_ : Matrix(*file, "output.weight");
  model->output_norm_ = Vector(*file, "output_norm.weight");
  for (int layer = 0; layer < info.layers; ++layer) {
    const auto name = [layer](const char* part) { return absl::StrCat("blk.", layer, ".", part, ".weight"); };
    model->layers_.push_back({.attention_norm = Vector(*file, name("attn_norm")),
                              .feed_forward_norm = Vector(*file, name("ffn_norm")),
                              .q = Matrix(*file, name("attn_q")),
                              .k = Matrix(*file, name("attn_k")),
                              .v = Matrix(*file, name("attn_v")),
                              .attention_output = Matrix(*file, name("attn_output")),
                              .gate = Matrix(*file, name("ffn_gate")),
                              .up = Matrix(*file, name("ffn_up")),
                              .down = Matrix(*file, name("ffn_down")),
                              .trained_base = kTrainedPerLayer * layer});
  }
  std::vector<float> divisors;
  if (file->FindTensor("rope_freqs.weight") != nullptr) divisors = Vector(*file, "rope_freqs.weight");
  model->file_ = std::move(file);
  QZO_RETURN_IF_ERROR(model->Finish(divisors));
  return model;
}

absl::StatusOr<std::unique_ptr<Model>> Model::Load(std::unique_ptr<Checkpoint> checkpoint,
                                                   std::unique_ptr<Tokenizer> tokenizer) {
  std::unique_ptr<Model> model(new Model);
  QZO_ASSIGN_OR_RETURN(CheckpointInfo read, ReadCheckpointInfo(*checkpoint));
  model->info_ = std::move(read.info);
  model->tokenizer_ = std::move(tokenizer);
  model->embedding_ = Matrix(*read.embedding);
  model->head_ = Matrix(*read.head);
  model->output_norm_ = Vector(Matrix(*read.output_norm));
  model->packed_.reserve(read.linears.size());
  for (size_t layer = 0; layer < static_cast<size_t>(model->info_.layers); ++layer) {
    const auto add = [&](size_t i) { return model->Add(read.linears[7 * layer + i]); };
    Layer& made = model->layers_.emplace_back();
    made.attention_norm = Vector(Matrix(*read.attention_norms[layer]));
    made.feed_forward_norm = Vector(Matrix(*read.feed_forward_norms[layer]));
    made.trained_base = static_cast<int>(7 * layer);
    for (size_t i = 0; i < 7; ++i) made.*kTrained[i] = add(i);
  }
  std::vector<float> divisors;
  if (model->info_.rope_scaling.has_value()) divisors = Llama3Divisors(model->info_);
  model->checkpoint_ = std::move(checkpoint);
  QZO_RETURN_IF_ERROR(model->Finish(divisors));
  return model;
}

absl::Status Model::Finish(absl::Span<const float> rope_divisors) {
  if (tokenizer_->vocab_size() > info_.vocabulary) {
    return absl::InvalidArgumentError(absl::StrCat(path(), ": the tokenizer has ", tokenizer_->vocab_size(),
                                                   " tokens, the embedding ", info_.vocabulary, " rows"));
  }
  rope_ = kernels::BuildRopeTable(info_.context_length, info_.rotary_dim, double{info_.rope_base},
                                  {rope_divisors.data(), rope_divisors.size()});
  return absl::OkStatus();
}

kernels::WeightMatrix Model::Add(const CheckpointLinear& linear) {
  if (linear.storage == LinearStorage::kPlain) return Matrix(*linear.weight);
  const PackedLinear& packed = packed_.emplace_back(Repack(linear));
  return {.type = packed.type,
          .data = packed.bytes.data(),
          .rows = linear.rows,
          .cols = linear.cols,
          .group = linear.group,
          .order = packed.order.empty() ? nullptr : packed.order.data()};
}

const GgufFile& Model::file() const {
  QZO_CHECK(from_gguf());
  return *file_;
}

const std::string& Model::path() const { return from_gguf() ? file_->path() : checkpoint_->path(); }

std::string Model::Digest() const { return from_gguf() ? file_->Digest() : checkpoint_->Digest(); }

int64_t Model::resident_bytes() const {
  int64_t bytes = info_.file_bytes;
  for (const PackedLinear& packed : packed_) bytes += static_cast<int64_t>(packed.bytes.size());
  return bytes;
}

const kernels::WeightMatrix& Model::Trained(int ordinal) const {
  return layers_.at(static_cast<size_t>(ordinal / 7)).*kTrained[static_cast<size_t>(ordinal % 7)];
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
  std::vector<float> units;
  units.reserve(static_cast<size_t>(shape.rows * (shape.cols / shape.group)));
  for (int64_t row = 0; row < shape.rows; ++row) {
    for (int64_t k = 0; k < shape.cols; k += shape.group) {
      kernels::CodeBlock block;
      kernels::DecodeCodes(matrix.type, matrix.data + row * row_bytes, k / 32 * 32, &block);
      const float scale = block.scale[k % 32 / 16];
      if (!std::isfinite(scale)) return failed(absl::StrCat("has the scale ", scale, " in group ", units.size()));
      units.push_back(scale == 0 ? 0 : 1 / scale);
    }
  }
  return units;
}

}  // namespace qzo::model
