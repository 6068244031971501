#include "model/graph/model.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "kernels/weights.h"

namespace qzo::model {
namespace {

kernels::WeightType ToWeightType(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return kernels::WeightType::kF32;
    case GgmlType::kF16:
      return kernels::WeightType::kF16;
    case GgmlType::kBF16:
      return kernels::WeightType::kBF16;
    case GgmlType::kQ4_0:
      return kernels::WeightType::kQ4_0;
    case GgmlType::kQ4_1:
      return kernels::WeightType::kQ4_1;
    case GgmlType::kQ8_0:
      return kernels::WeightType::kQ8_0;
    default:
      QZO_CHECK(false && "ReadModelInfo lets no other type pass");
  }
  return kernels::WeightType::kF32;
}

kernels::WeightMatrix Matrix(const GgufFile& file, std::string_view name) {
  const GgufTensor* tensor = file.FindTensor(name);
  QZO_CHECK(tensor != nullptr);
  return {.type = ToWeightType(tensor->type),
          .data = reinterpret_cast<const std::byte*>(tensor->bytes.data()),
          .rows = tensor->dims.size() == 1 ? 1 : tensor->dims[1],
          .cols = tensor->dims[0]};
}

std::vector<float> Vector(const GgufFile& file, std::string_view name) {
  const kernels::WeightMatrix matrix = Matrix(file, name);
  std::vector<float> values(static_cast<size_t>(matrix.cols));
  kernels::DequantizeRow(matrix, 0, values.data());
  return values;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const std::string& path) {
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> file, GgufFile::Open(path));
  return Load(std::move(file));
}

absl::StatusOr<std::unique_ptr<Model>> Model::Load(std::unique_ptr<GgufFile> file) {
  std::unique_ptr<Model> model(new Model);
  QZO_ASSIGN_OR_RETURN(model->info_, ReadModelInfo(*file));
  QZO_ASSIGN_OR_RETURN(model->tokenizer_, MakeTokenizer(*file));
  const ModelInfo& info = model->info_;
  if (model->tokenizer_->vocab_size() > info.vocabulary) {
    return absl::InvalidArgumentError(absl::StrCat(file->path(), ": the tokenizer has ",
                                                   model->tokenizer_->vocab_size(), " tokens, the embedding ",
                                                   info.vocabulary, " rows"));
  }
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
  model->rope_ = kernels::BuildRopeTable(info.context_length, info.rotary_dim, double{info.rope_base}, divisors);
  model->file_ = std::move(file);
  return model;
}

absl::StatusOr<std::vector<float>> Model::Units(int ordinal, method::Granularity granularity) const {
  const method::TensorShape& shape = info_.trained.at(static_cast<size_t>(ordinal));
  const kernels::WeightMatrix matrix = Matrix(*file_, shape.name);
  const auto failed = [&](std::string_view why) {
    return absl::FailedPreconditionError(absl::StrCat(file_->path(), ": tensor '", shape.name, "' (",
                                                      std::string(kernels::WeightTypeName(matrix.type)), ") ",
                                                      std::string(why)));
  };
  if (kernels::BlockValues(matrix.type) == 1) return failed("has no scales, which the absolute mode moves");
  if (granularity == method::Granularity::kChannel && shape.group != shape.cols) {
    return failed("has several scales a row: the absolute mode needs the granularity GROUP");
  }
  const int64_t block_bytes = kernels::BlockBytes(matrix.type);
  std::vector<float> units(static_cast<size_t>(shape.rows * (shape.cols / shape.group)));
  for (size_t i = 0; i < units.size(); ++i) {
    uint16_t half;  // every quantized layout of kernels::WeightType begins with its scale
    std::memcpy(&half, matrix.data + static_cast<int64_t>(i) * block_bytes, sizeof half);
    const float scale = kernels::HalfToFloat(half);
    if (!std::isfinite(scale)) return failed(absl::StrCat("has the scale ", scale, " in block ", i));
    units[i] = scale == 0 ? 0 : 1 / scale;
  }
  return units;
}

}  // namespace qzo::model
