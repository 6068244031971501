#include "model/formats/checkpoint_info.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/formats/architecture.h"
#include "model/formats/checkpoint_config.h"
#include "model/formats/config_object.h"
#include "model/formats/json_text.h"

namespace qzo::model {
namespace {

using base::ToAbsl;
using Type = SafetensorsType;
using Json = nlohmann::json;

class Reader {
 public:
  Reader(const Checkpoint& checkpoint, const Architecture& architecture, ModelInfo info,
         CheckpointQuantization quantization)
      : checkpoint_(checkpoint), architecture_(architecture), quantization_(quantization) {
    result_.info = std::move(info);
  }

  absl::StatusOr<CheckpointInfo> Read();

 private:
  template <typename... Parts>
  absl::Status Error(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(checkpoint_.path(), ": ", parts...));
  }

  absl::StatusOr<const SafetensorsTensor*> Use(const std::string& name, absl::Span<const int64_t> dims,
                                               absl::Span<const Type> types);
  absl::StatusOr<const SafetensorsTensor*> UsePlain(const std::string& name, absl::Span<const int64_t> dims) {
    return Use(name, dims, {Type::kF32, Type::kF16, Type::kBF16});
  }
  // A tensor that is not trained, counted.
  absl::Status UseOther(const std::string& name, absl::Span<const int64_t> dims);
  absl::Status UseLinear(const std::string& name, int64_t rows, int64_t cols);
  absl::Status UseCodes(const std::string& name, CheckpointLinear* linear);
  absl::Status UseNf4(const std::string& name, CheckpointLinear* linear);
  absl::Status UseNestedScales(const std::string& weight, const ConfigObject& state, CheckpointLinear* linear);
  absl::Status UseAqlm(const std::string& name, CheckpointLinear* linear);
  absl::Status CheckIndices(const CheckpointLinear& linear) const;
  absl::Status UseBiasOfZeros(const std::string& name, int64_t rows);
  absl::StatusOr<std::string> Prefix() const;
  absl::Status UsePart(const PartNames& names, const std::string& block, std::map<Part, TensorNames>* found);
  absl::Status RefuseUnusedTensors() const;

  const Checkpoint& checkpoint_;
  const Architecture& architecture_;
  const CheckpointQuantization quantization_;
  CheckpointInfo result_;
  absl::flat_hash_set<std::string> used_;
};

absl::StatusOr<const SafetensorsTensor*> Reader::Use(const std::string& name, absl::Span<const int64_t> dims,
                                                     absl::Span<const Type> types) {
  const SafetensorsTensor* tensor = checkpoint_.FindTensor(name);
  if (tensor == nullptr) return Error("tensor '", name, "' is missing");
  if (absl::MakeConstSpan(tensor->dims) != dims) {
    return Error("tensor '", name, "' has the shape [", absl::StrJoin(tensor->dims, ", "), "], expected [",
                 absl::StrJoin(dims, ", "), "]");
  }
  if (std::find(types.begin(), types.end(), tensor->type) == types.end()) {
    const auto print = [](std::string* out, Type type) { absl::StrAppend(out, ToAbsl(SafetensorsTypeName(type))); };
    return Error("tensor '", name, "' is stored as ", ToAbsl(SafetensorsTypeName(tensor->type)),
                 ", supported: ", absl::StrJoin(types, ", ", print));
  }
  used_.insert(name);
  return tensor;
}

absl::Status Reader::UseLinear(const std::string& name, int64_t rows, int64_t cols) {
  CheckpointLinear linear{.name = name + ".weight", .rows = rows, .cols = cols, .group = cols};
  const bool stored = checkpoint_.FindTensor(linear.name) != nullptr;
  const bool nf4 = quantization_.storage == LinearStorage::kNf4;  // whose codes have the name of weights
  const bool coded = nf4 && checkpoint_.FindTensor(linear.name + ".absmax") != nullptr;
  std::string storage;
  if (quantization_.storage == LinearStorage::kPlain || (nf4 ? !coded : stored)) {
    linear.transposed = architecture_.transposed;
    const int64_t outer = linear.transposed ? cols : rows;
    QZO_ASSIGN_OR_RETURN(linear.weight, UsePlain(linear.name, {outer, rows * cols / outer}));
    storage = SafetensorsTypeName(linear.weight->type);
  } else {
    linear.storage = quantization_.storage;
    linear.bits = quantization_.bits;
    if (linear.storage == LinearStorage::kNf4) {
      QZO_RETURN_IF_ERROR(UseNf4(linear.name, &linear));
      storage = "NF4";
    } else if (linear.storage == LinearStorage::kAqlm) {
      QZO_RETURN_IF_ERROR(UseAqlm(name, &linear));
      storage = absl::StrCat("AQLM", linear.codebooks, "x", linear.bits);
    } else {
      QZO_RETURN_IF_ERROR(UseCodes(name, &linear));
      storage = absl::StrCat(linear.storage == LinearStorage::kGptq ? "GPTQ" : "AWQ", linear.bits);
    }
  }
  ++result_.info.tensor_types[storage];
  result_.info.parameters += rows * cols;
  result_.info.trained.push_back({linear.name, rows, cols, linear.group});
  result_.info.repacked_bytes += RepackedBytes(linear);
  result_.info.released_bytes += ReleasedBytes(linear);
  result_.linears.push_back(std::move(linear));
  return absl::OkStatus();
}

absl::Status Reader::UseCodes(const std::string& name, CheckpointLinear* linear) {
  const int64_t rows = linear->rows, cols = linear->cols, bits = quantization_.bits;
  linear->zeros_minus_one = quantization_.zeros_minus_one;
  if (quantization_.group_size != -1) linear->group = quantization_.group_size;
  if (cols % linear->group != 0 || cols % 32 != 0 || rows * bits % 32 != 0) {
    return Error("layer '", name, "' is [", rows, ", ", cols,
                 "], expected columns in multiples of 32 and of the group size ", linear->group,
                 ", and rows whose zeros fill whole words");
  }
  const int64_t groups = cols / linear->group;
  const bool gptq = linear->storage == LinearStorage::kGptq;
  const std::vector<int64_t> codes =
      gptq ? std::vector<int64_t>{cols * bits / 32, rows} : std::vector<int64_t>{cols, rows * bits / 32};
  QZO_ASSIGN_OR_RETURN(linear->weight, Use(name + ".qweight", codes, {Type::kI32}));
  QZO_ASSIGN_OR_RETURN(linear->zeros, Use(name + ".qzeros", {groups, rows * bits / 32}, {Type::kI32}));
  QZO_ASSIGN_OR_RETURN(linear->scales, Use(name + ".scales", {groups, rows}, {Type::kF16, Type::kBF16}));
  if (!gptq || checkpoint_.FindTensor(name + ".g_idx") == nullptr) return absl::OkStatus();
  QZO_ASSIGN_OR_RETURN(linear->indices, Use(name + ".g_idx", {cols}, {Type::kI32}));
  return CheckIndices(*linear);
}

// Codes in a column of bytes, a scale for each block of the rows one after the other, and a JSON object that says the
// rest.
absl::Status Reader::UseNf4(const std::string& weight, CheckpointLinear* linear) {
  const int64_t values = linear->rows * linear->cols;
  const std::string state_name = weight + ".quant_state.bitsandbytes__nf4";
  const SafetensorsTensor* state_tensor = checkpoint_.FindTensor(state_name);
  if (state_tensor == nullptr) return Error("tensor '", state_name, "' is missing");
  QZO_RETURN_IF_ERROR(Use(state_name, state_tensor->dims, {Type::kU8}).status());
  Json json = ParseJson(state_tensor->bytes);
  const std::string where = absl::StrCat(checkpoint_.path(), ": tensor '", state_name, "'");
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(where, ": expected a JSON object"));
  const ConfigObject state(where, std::move(json));
  QZO_RETURN_IF_ERROR(state.Only("quant_type", "nf4"));
  QZO_RETURN_IF_ERROR(state.Only("shape", Json::array({linear->rows, linear->cols})));
  QZO_ASSIGN_OR_RETURN(const int32_t group, state.Dimension("blocksize"));
  if (group % 32 != 0 || linear->cols % group != 0) {
    return state.Error("'blocksize' is ", group, ", supported: multiples of 32 that divide the ", linear->cols,
                       " columns");
  }
  linear->group = group;
  QZO_ASSIGN_OR_RETURN(linear->weight, Use(weight, {values / 2, 1}, {Type::kU8}));
  QZO_ASSIGN_OR_RETURN(linear->codebook, Use(weight + ".quant_map", {16}, {Type::kF32}));
  const bool nested = !state.Get("nested_blocksize").is_null();
  QZO_ASSIGN_OR_RETURN(linear->scales, Use(weight + ".absmax", {values / group}, {nested ? Type::kU8 : Type::kF32}));
  return nested ? UseNestedScales(weight, state, linear) : absl::OkStatus();
}

absl::Status Reader::UseNestedScales(const std::string& weight, const ConfigObject& state, CheckpointLinear* linear) {
  NestedScales& nested = linear->nested.emplace();
  const int64_t scales = linear->rows * linear->cols / linear->group;
  QZO_ASSIGN_OR_RETURN(nested.block, state.Dimension("nested_blocksize"));
  const Json offset = state.Get("nested_offset");
  nested.offset = offset.is_number() ? offset.get<float>() : std::nanf("");
  if (!std::isfinite(nested.offset)) {
    return state.Error("'nested_offset' is ", state.Shown("nested_offset"), ", expected a number");
  }
  QZO_ASSIGN_OR_RETURN(nested.scales,
                       Use(weight + ".nested_absmax", {(scales + nested.block - 1) / nested.block}, {Type::kF32}));
  QZO_ASSIGN_OR_RETURN(nested.map, Use(weight + ".nested_quant_map", {256}, {Type::kF32}));
  return absl::OkStatus();
}

absl::Status Reader::UseAqlm(const std::string& name, CheckpointLinear* linear) {
  if (linear->cols % 32 != 0) {
    return Error("layer '", name, "' has ", linear->cols, " columns, expected a multiple of 32");
  }
  linear->codebooks = quantization_.codebooks;
  const int64_t entries = int64_t{1} << linear->bits;
  QZO_ASSIGN_OR_RETURN(linear->weight, Use(name + ".codes", {linear->rows, linear->cols / 8, linear->codebooks},
                                           {linear->bits == 16 ? Type::kI16 : Type::kI8}));
  QZO_ASSIGN_OR_RETURN(linear->codebook,
                       Use(name + ".codebooks", {linear->codebooks, entries, 1, 8}, {Type::kF16, Type::kBF16}));
  QZO_ASSIGN_OR_RETURN(linear->scales, Use(name + ".scales", {linear->rows, 1, 1, 1}, {Type::kF16, Type::kBF16}));
  return absl::OkStatus();
}

// Columns may belong to groups in any order, but each group has its share of them.
absl::Status Reader::CheckIndices(const CheckpointLinear& linear) const {
  std::vector<int64_t> counts(static_cast<size_t>(linear.cols / linear.group));
  for (int64_t k = 0; k < linear.cols; ++k) {
    int32_t group;
    std::memcpy(&group, linear.indices->bytes.data() + k * static_cast<int64_t>(sizeof group), sizeof group);
    if (group < 0 || static_cast<size_t>(group) >= counts.size()) {
      return Error("tensor '", linear.indices->name, "' has the group ", group, " for column ", k,
                   ", expected less than ", counts.size());
    }
    ++counts[static_cast<size_t>(group)];
  }
  for (size_t group = 0; group < counts.size(); ++group) {
    if (counts[group] == linear.group) continue;
    return Error("tensor '", linear.indices->name, "' gives group ", group, " ", counts[group],
                 " columns, expected the group size ", linear.group);
  }
  return absl::OkStatus();
}

// Some writers add biases to layers that have none.
absl::Status Reader::UseBiasOfZeros(const std::string& name, int64_t rows) {
  const std::string bias_name = name + ".bias";
  if (checkpoint_.FindTensor(bias_name) == nullptr) return absl::OkStatus();
  QZO_ASSIGN_OR_RETURN(const SafetensorsTensor* bias, UsePlain(bias_name, {rows}));
  if (bias->bytes.find_first_not_of('\0') == std::string_view::npos) return absl::OkStatus();
  return Error("tensor '", bias_name, "' is not zero: the architecture has no bias there");
}

absl::Status Reader::UseOther(const std::string& name, absl::Span<const int64_t> dims) {
  QZO_ASSIGN_OR_RETURN(const SafetensorsTensor* tensor, UsePlain(name, dims));
  result_.info.parameters += static_cast<int64_t>(tensor->bytes.size()) / SafetensorsTypeBytes(tensor->type);
  ++result_.info.tensor_types[std::string(SafetensorsTypeName(tensor->type))];
  return absl::OkStatus();
}

absl::Status Reader::UsePart(const PartNames& names, const std::string& block, std::map<Part, TensorNames>* found) {
  const std::string name = absl::StrCat(block, names.checkpoint);
  const PartShape shape = ShapeOf(result_.info, names.part);
  const int64_t outputs = shape.matrix ? shape.rows : shape.cols;
  TensorNames& made = (*found)[names.part];
  made.weight = name + ".weight";
  QZO_RETURN_IF_ERROR(shape.matrix ? UseLinear(name, shape.rows, shape.cols) : UseOther(made.weight, {shape.cols}));
  if (!names.bias) return shape.matrix ? UseBiasOfZeros(name, outputs) : absl::OkStatus();
  made.bias = name + ".bias";
  return UseOther(made.bias, {outputs});
}

// A tensor that we would pass over (a bias, say) means that the checkpoint's model is not the one that we would
// compute.
absl::Status Reader::RefuseUnusedTensors() const {
  for (const SafetensorsTensor& tensor : checkpoint_.tensors()) {
    if (used_.contains(tensor.name) || (result_.info.tied_head && tensor.name == "lm_head.weight")) continue;
    const auto names = [&](const char* end) { return absl::EndsWith(tensor.name, end); };
    if (std::any_of(architecture_.ignored.begin(), architecture_.ignored.end(), names)) continue;
    return Error("tensor '", tensor.name, "' is no part of the architecture '", result_.info.architecture, "' of ",
                 result_.info.layers, " layers as supported");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Reader::Prefix() const {
  for (const char* prefix : architecture_.prefixes) {
    if (checkpoint_.FindTensor(absl::StrCat(prefix, architecture_.embedding, ".weight")) != nullptr) return prefix;
  }
  return Error("tensor '", architecture_.prefixes[0], architecture_.embedding, ".weight' is missing");
}

absl::StatusOr<CheckpointInfo> Reader::Read() {
  ModelInfo& info = result_.info;
  const int64_t dim = info.embedding_length;
  QZO_ASSIGN_OR_RETURN(const std::string prefix, Prefix());
  info.embedding.weight = absl::StrCat(prefix, architecture_.embedding, ".weight");
  QZO_RETURN_IF_ERROR(UseOther(info.embedding.weight, {info.vocabulary, dim}));
  info.head.weight = info.tied_head ? info.embedding.weight : "lm_head.weight";
  if (!info.tied_head) QZO_RETURN_IF_ERROR(UseOther(info.head.weight, {info.vocabulary, dim}));
  if (architecture_.positions != nullptr) {
    info.positions.weight = absl::StrCat(prefix, architecture_.positions, ".weight");
    QZO_RETURN_IF_ERROR(UseOther(info.positions.weight, {int64_t{info.context_length} + info.position_offset, dim}));
  }
  info.output_norm.weight = absl::StrCat(prefix, architecture_.output_norm, ".weight");
  QZO_RETURN_IF_ERROR(UseOther(info.output_norm.weight, {dim}));
  if (info.norm == NormKind::kLayer) {
    info.output_norm.bias = absl::StrCat(prefix, architecture_.output_norm, ".bias");
    QZO_RETURN_IF_ERROR(UseOther(info.output_norm.bias, {dim}));
  }
  for (int32_t layer = 0; layer < info.layers; ++layer) {
    const std::string block = absl::StrCat(prefix, architecture_.blocks, layer, ".");
    info.blocks.emplace_back();
    for (const PartNames& part : architecture_.parts) QZO_RETURN_IF_ERROR(UsePart(part, block, &info.blocks.back()));
  }
  QZO_RETURN_IF_ERROR(RefuseUnusedTensors());
  info.file_bytes = checkpoint_.file_bytes();
  std::map<std::string, int64_t> linear_bytes;
  for (const CheckpointLinear& linear : result_.linears) {
    for (const SafetensorsTensor* tensor :
         {linear.weight, linear.zeros, linear.scales, linear.indices, linear.codebook}) {
      if (tensor != nullptr) linear_bytes[linear.name] += static_cast<int64_t>(tensor->bytes.size());
    }
  }
  info.CountBytes([&](const std::string& name) {
    const auto linear = linear_bytes.find(name);
    return linear != linear_bytes.end() ? linear->second
                                        : static_cast<int64_t>(checkpoint_.FindTensor(name)->bytes.size());
  });
  info.ListUnquantized([](const std::string&) { return true; });
  return std::move(result_);
}

}  // namespace

bool HasScalesInPlace(const CheckpointLinear& l) {
  return l.storage == LinearStorage::kNf4 && !l.nested.has_value() &&
         reinterpret_cast<uintptr_t>(l.scales->bytes.data()) % alignof(float) == 0;
}

int64_t RepackedBytes(const CheckpointLinear& l) {
  switch (l.storage) {
    case LinearStorage::kPlain:
      return l.transposed ? static_cast<int64_t>(l.weight->bytes.size()) : 0;
    case LinearStorage::kNf4:
    case LinearStorage::kAqlm:
      return HasScalesInPlace(l) ? 0 : l.rows * (l.cols / l.group) * static_cast<int64_t>(sizeof(float));
    default: {
      constexpr int64_t kScaleAndZero = sizeof(uint32_t);
      const int64_t block = l.group % 128 == 0 ? 128 : 32;
      const int64_t codes = l.rows * (l.cols / block) * (kScaleAndZero + block * l.bits / 8);
      return codes + (l.indices == nullptr ? 0 : l.cols * static_cast<int64_t>(sizeof(int32_t)));
    }
  }
}

int64_t ReleasedBytes(const CheckpointLinear& l) {
  const bool copied = l.storage == LinearStorage::kPlain ? l.transposed : l.codebook == nullptr;
  int64_t bytes = 0;
  for (const SafetensorsTensor* tensor : {l.weight, l.zeros, l.scales, l.indices}) {
    if (copied && tensor != nullptr) bytes += static_cast<int64_t>(tensor->bytes.size());
  }
  return bytes;
}

absl::StatusOr<CheckpointInfo> ReadCheckpointInfo(const Checkpoint& checkpoint) {
  ModelInfo info;
  QZO_ASSIGN_OR_RETURN(const Architecture* architecture, ReadConfig(checkpoint, &info));
  QZO_ASSIGN_OR_RETURN(const CheckpointQuantization quantization, ReadQuantization(checkpoint));
  return Reader(checkpoint, *architecture, std::move(info), quantization).Read();
}

}  // namespace qzo::model
