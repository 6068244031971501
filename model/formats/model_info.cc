#include "model/formats/model_info.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "base/text.h"

namespace qzo::model {
namespace {

using base::ToAbsl;

constexpr std::string_view kArchitecture = "llama";
// Rotary tables have a row per position: 1 GiB at this length and 128 rotated dimensions.
constexpr int32_t kMaxContextLength = 1 << 20;
constexpr int32_t kMaxDimension = 1 << 24;  // of anything else; products of two stay far inside 63 bits

constexpr GgmlType kPlainTypes[] = {GgmlType::kF32, GgmlType::kF16, GgmlType::kBF16};

std::string_view TypeName(GgmlType type) { return FindGgmlType(static_cast<uint32_t>(type))->name; }

class Reader {
 public:
  explicit Reader(const GgufFile& file) : file_(file) {}

  absl::StatusOr<ModelInfo> Read();

 private:
  template <typename... Parts>
  absl::Status Error(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(file_.path(), ": ", parts...));
  }
  static std::string Key(std::string_view name) { return absl::StrCat(ToAbsl(kArchitecture), ".", ToAbsl(name)); }
  bool Has(std::string_view name) const { return file_.HasKey(Key(name)); }

  // A dimension of the architecture: 1 … max.
  absl::StatusOr<int32_t> Dimension(std::string_view name, int32_t max = kMaxDimension) const;
  absl::StatusOr<float> PositiveFloat(std::string_view name) const;
  absl::Status ReadDimensions();
  absl::Status RefuseWhatIsNotComputed() const;
  absl::Status ReadTensors();
  absl::Status RefuseUnusedTensors() const;

  // The tensor `name` after a check of its dims (ggml order). Any type that the file reader knows can be a matrix.
  absl::StatusOr<const GgufTensor*> Use(std::string_view name, absl::Span<const int64_t> dims);
  absl::Status UsePlain(std::string_view name, int64_t size);
  absl::Status UseNorm(std::string_view name);
  absl::Status UseTrained(std::string_view name, int64_t rows, int64_t cols);

  const GgufFile& file_;
  ModelInfo info_;
  absl::flat_hash_set<std::string> used_;
};

absl::StatusOr<int32_t> Reader::Dimension(std::string_view name, int32_t max) const {
  const std::string key = Key(name);
  if (!file_.HasKey(key)) return Error("key '", key, "' is missing");
  QZO_ASSIGN_OR_RETURN(const uint64_t value, file_.GetUint(key));
  if (value < 1 || value > static_cast<uint64_t>(max)) {
    return Error("key '", key, "' is ", value, ", expected 1 to ", max);
  }
  return static_cast<int32_t>(value);
}

absl::StatusOr<float> Reader::PositiveFloat(std::string_view name) const {
  const std::string key = Key(name);
  if (!file_.HasKey(key)) return Error("key '", key, "' is missing");
  QZO_ASSIGN_OR_RETURN(const double value, file_.GetFloat(key));
  const float result = static_cast<float>(value);
  if (!std::isfinite(result) || result <= 0) return Error("key '", key, "' is ", value, ", expected a positive number");
  return result;
}

absl::Status Reader::ReadDimensions() {
  QZO_ASSIGN_OR_RETURN(info_.layers, Dimension("block_count"));
  QZO_ASSIGN_OR_RETURN(info_.context_length, Dimension("context_length", kMaxContextLength));
  QZO_ASSIGN_OR_RETURN(info_.embedding_length, Dimension("embedding_length"));
  QZO_ASSIGN_OR_RETURN(info_.feed_forward_length, Dimension("feed_forward_length"));
  QZO_ASSIGN_OR_RETURN(info_.heads, Dimension("attention.head_count"));
  info_.kv_heads = info_.heads;
  if (Has("attention.head_count_kv")) {
    QZO_ASSIGN_OR_RETURN(info_.kv_heads, Dimension("attention.head_count_kv"));
  }
  if (info_.heads % info_.kv_heads != 0) {
    return Error("key 'llama.attention.head_count_kv' is ", info_.kv_heads, ", which does not divide the ", info_.heads,
                 " heads");
  }
  if (Has("attention.key_length")) {
    QZO_ASSIGN_OR_RETURN(info_.head_dim, Dimension("attention.key_length"));
  } else if (info_.embedding_length % info_.heads == 0) {
    info_.head_dim = info_.embedding_length / info_.heads;
  } else {
    return Error("key 'llama.embedding_length' is ", info_.embedding_length, ", no multiple of the ", info_.heads,
                 " heads");
  }
  if (int64_t{info_.heads} * info_.head_dim > kMaxDimension) {
    return Error(info_.heads, " heads of ", info_.head_dim, " values are more than ", kMaxDimension, " values");
  }
  info_.rotary_dim = info_.head_dim;
  if (Has("rope.dimension_count")) {
    QZO_ASSIGN_OR_RETURN(info_.rotary_dim, Dimension("rope.dimension_count"));
  }
  if (info_.rotary_dim % 2 != 0 || info_.rotary_dim > info_.head_dim) {
    return Error("key 'llama.rope.dimension_count' is ", info_.rotary_dim, ", expected an even number up to ",
                 info_.head_dim, ", the size of a head");
  }
  info_.rope_base = 10000;
  if (Has("rope.freq_base")) {
    QZO_ASSIGN_OR_RETURN(info_.rope_base, PositiveFloat("rope.freq_base"));
  }
  QZO_ASSIGN_OR_RETURN(info_.norm_epsilon, PositiveFloat("attention.layer_norm_rms_epsilon"));
  return absl::OkStatus();
}

// Settings under which the computation would be another one than ours.
absl::Status Reader::RefuseWhatIsNotComputed() const {
  if (Has("attention.value_length")) {
    QZO_ASSIGN_OR_RETURN(const int32_t value_length, Dimension("attention.value_length"));
    if (value_length != info_.head_dim) {
      return Error("key 'llama.attention.value_length' is ", value_length, ", expected that of the keys, ",
                   info_.head_dim);
    }
  }
  if (Has("expert_count")) {
    QZO_ASSIGN_OR_RETURN(const uint64_t experts, file_.GetUint(Key("expert_count")));
    if (experts != 0) return Error("a mixture of ", experts, " experts is not supported, only dense models are");
  }
  if (Has("rope.scaling.type")) {
    QZO_ASSIGN_OR_RETURN(const std::string_view scaling, file_.GetString(Key("rope.scaling.type")));
    if (scaling != "none") {
      return Error("key 'llama.rope.scaling.type' is '", ToAbsl(scaling),
                   "', supported: 'none' or a rope_freqs.weight tensor");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<const GgufTensor*> Reader::Use(std::string_view name, absl::Span<const int64_t> dims) {
  const GgufTensor* tensor = file_.FindTensor(name);
  if (tensor == nullptr) return Error("tensor '", ToAbsl(name), "' is missing");
  if (absl::MakeConstSpan(tensor->dims) != dims) {
    return Error("tensor '", ToAbsl(name), "' has dimensions [", absl::StrJoin(tensor->dims, ", "), "], expected [",
                 absl::StrJoin(dims, ", "), "]");
  }
  used_.insert(tensor->name);
  return tensor;
}

absl::Status Reader::UsePlain(std::string_view name, int64_t size) {
  QZO_ASSIGN_OR_RETURN(const GgufTensor* tensor, Use(name, {size}));
  if (std::find(std::begin(kPlainTypes), std::end(kPlainTypes), tensor->type) != std::end(kPlainTypes)) {
    return absl::OkStatus();
  }
  const auto print = [](std::string* out, GgmlType type) { absl::StrAppend(out, ToAbsl(TypeName(type))); };
  return Error("tensor '", ToAbsl(name), "' is stored as ", ToAbsl(TypeName(tensor->type)),
               ", supported: ", absl::StrJoin(kPlainTypes, ", ", print));
}

absl::Status Reader::UseNorm(std::string_view name) { return UsePlain(name, info_.embedding_length); }

absl::Status Reader::UseTrained(std::string_view name, int64_t rows, int64_t cols) {
  QZO_ASSIGN_OR_RETURN(const GgufTensor* tensor, Use(name, {cols, rows}));
  const int64_t group = FindGgmlType(static_cast<uint32_t>(tensor->type))->group_values;
  info_.trained.push_back({tensor->name, rows, cols, group == 1 ? cols : group});
  return absl::OkStatus();
}

absl::Status Reader::ReadTensors() {
  const int64_t dim = info_.embedding_length, wide = info_.feed_forward_length;
  const int64_t q = int64_t{info_.heads} * info_.head_dim, kv = int64_t{info_.kv_heads} * info_.head_dim;
  const GgufTensor* embedding = file_.FindTensor("token_embd.weight");
  if (embedding == nullptr) return Error("tensor 'token_embd.weight' is missing");
  const int64_t vocabulary = embedding->dims.back();
  if (vocabulary > kMaxDimension) {
    return Error("tensor 'token_embd.weight' has ", vocabulary, " rows, expected at most ", kMaxDimension);
  }
  info_.vocabulary = static_cast<int32_t>(vocabulary);
  QZO_RETURN_IF_ERROR(Use("token_embd.weight", {dim, vocabulary}).status());
  info_.tied_head = file_.FindTensor("output.weight") == nullptr;
  if (!info_.tied_head) QZO_RETURN_IF_ERROR(Use("output.weight", {dim, vocabulary}).status());
  QZO_RETURN_IF_ERROR(UseNorm("output_norm.weight"));
  if (file_.FindTensor("rope_freqs.weight") != nullptr) {
    QZO_RETURN_IF_ERROR(UsePlain("rope_freqs.weight", info_.rotary_dim / 2));
  }
  for (int32_t layer = 0; layer < info_.layers; ++layer) {
    const auto name = [layer](const char* part) { return absl::StrCat("blk.", layer, ".", part, ".weight"); };
    QZO_RETURN_IF_ERROR(UseNorm(name("attn_norm")));
    QZO_RETURN_IF_ERROR(UseTrained(name("attn_q"), q, dim));
    QZO_RETURN_IF_ERROR(UseTrained(name("attn_k"), kv, dim));
    QZO_RETURN_IF_ERROR(UseTrained(name("attn_v"), kv, dim));
    QZO_RETURN_IF_ERROR(UseTrained(name("attn_output"), dim, q));
    QZO_RETURN_IF_ERROR(UseNorm(name("ffn_norm")));
    QZO_RETURN_IF_ERROR(UseTrained(name("ffn_gate"), wide, dim));
    QZO_RETURN_IF_ERROR(UseTrained(name("ffn_up"), wide, dim));
    QZO_RETURN_IF_ERROR(UseTrained(name("ffn_down"), dim, wide));
  }
  return absl::OkStatus();
}

// A tensor that we would pass over (a bias, say) means that the file's model is not the one that we would compute.
absl::Status Reader::RefuseUnusedTensors() const {
  for (const GgufTensor& tensor : file_.tensors()) {
    if (!used_.contains(tensor.name)) {
      return Error("tensor '", tensor.name, "' is no part of the architecture '", ToAbsl(kArchitecture), "' of ",
                   info_.layers, " blocks as supported (no biases, no experts)");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ModelInfo> Reader::Read() {
  if (!file_.complete()) {
    return Error(
        "a part of a split model; open the first part by its path, or put the parts together with "
        "gguf-split --merge");
  }
  if (!file_.HasKey("general.architecture")) return Error("key 'general.architecture' is missing");
  QZO_ASSIGN_OR_RETURN(const std::string_view architecture, file_.GetString("general.architecture"));
  if (architecture != kArchitecture) {
    return Error("architecture '", ToAbsl(architecture), "' is not supported, supported: '", ToAbsl(kArchitecture),
                 "'");
  }
  info_.architecture = kArchitecture;
  QZO_RETURN_IF_ERROR(ReadDimensions());
  QZO_RETURN_IF_ERROR(RefuseWhatIsNotComputed());
  QZO_RETURN_IF_ERROR(ReadTensors());
  QZO_RETURN_IF_ERROR(RefuseUnusedTensors());
  for (const GgufTensor& tensor : file_.tensors()) {
    int64_t values = 1;
    for (const int64_t dim : tensor.dims) values *= dim;
    info_.parameters += values;
    ++info_.tensor_types[std::string(TypeName(tensor.type))];
  }
  info_.file_bytes = file_.file_bytes();
  return std::move(info_);
}

}  // namespace

int64_t ModelInfo::ActivationBytes(int64_t rows) const {
  const int64_t q = int64_t{heads} * head_dim, kv = int64_t{kv_heads} * head_dim;
  const int64_t floats = int64_t{embedding_length} + std::max<int64_t>(embedding_length, q) +
                         std::max<int64_t>(q + 2 * kv, int64_t{2} * feed_forward_length);
  const int64_t rounded = std::max<int64_t>({embedding_length, q, feed_forward_length}) * kRoundedBlockBytes / 32;
  return rows * (floats * static_cast<int64_t>(sizeof(float)) + rounded + kRowBookkeepingBytes) +
         kHeadRows * (embedding_length + vocabulary) * static_cast<int64_t>(sizeof(float));
}

absl::StatusOr<ModelInfo> ReadModelInfo(const GgufFile& file) { return Reader(file).Read(); }

}  // namespace qzo::model
