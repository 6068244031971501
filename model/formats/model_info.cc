#include "model/formats/model_info.h"

#include <algorithm>
#include <string_view>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/formats/architecture.h"

namespace qzo::model {
namespace {

using base::ToAbsl;

constexpr GgmlType kPlainTypes[] = {GgmlType::kF32, GgmlType::kF16, GgmlType::kBF16};

bool IsPlain(GgmlType type) {
  return std::find(std::begin(kPlainTypes), std::end(kPlainTypes), type) != std::end(kPlainTypes);
}

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
  absl::Status ReadTensors(const Architecture& architecture);
  absl::Status ReadPart(const PartNames& names, const std::string& block, std::map<Part, TensorNames>* found);
  absl::Status RefuseUnusedTensors(const Architecture& architecture) const;

  // The tensor `name` after a check of its dims (ggml order). Any type that the file reader knows can be a matrix.
  absl::StatusOr<const GgufTensor*> Use(std::string_view name, absl::Span<const int64_t> dims);
  absl::Status UsePlain(std::string_view name, int64_t size);
  absl::Status UseNorm(std::string_view name, bool bias, TensorNames* names);
  absl::Status UseTrained(std::string_view name, int64_t rows, int64_t cols);

  const GgufFile& file_;
  ModelInfo info_;
  absl::flat_hash_set<std::string> used_;
};

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
  if (IsPlain(tensor->type)) return absl::OkStatus();
  const auto print = [](std::string* out, GgmlType type) { absl::StrAppend(out, ToAbsl(TypeName(type))); };
  return Error("tensor '", ToAbsl(name), "' is stored as ", ToAbsl(TypeName(tensor->type)),
               ", supported: ", absl::StrJoin(kPlainTypes, ", ", print));
}

absl::Status Reader::UseNorm(std::string_view name, bool bias, TensorNames* names) {
  names->weight = absl::StrCat(ToAbsl(name), ".weight");
  QZO_RETURN_IF_ERROR(UsePlain(names->weight, info_.embedding_length));
  if (!bias) return absl::OkStatus();
  names->bias = absl::StrCat(ToAbsl(name), ".bias");
  return UsePlain(names->bias, info_.embedding_length);
}

absl::Status Reader::UseTrained(std::string_view name, int64_t rows, int64_t cols) {
  QZO_ASSIGN_OR_RETURN(const GgufTensor* tensor, Use(name, {cols, rows}));
  const int64_t group = FindGgmlType(static_cast<uint32_t>(tensor->type))->group_values;
  info_.trained.push_back({tensor->name, rows, cols, group == 1 ? cols : group});
  return absl::OkStatus();
}

absl::Status Reader::ReadPart(const PartNames& names, const std::string& block, std::map<Part, TensorNames>* found) {
  const std::string name = absl::StrCat(block, names.gguf);
  const PartShape shape = ShapeOf(info_, names.part);
  TensorNames& made = (*found)[names.part];
  made.weight = name + ".weight";
  QZO_RETURN_IF_ERROR(shape.matrix ? UseTrained(made.weight, shape.rows, shape.cols)
                                   : UsePlain(made.weight, shape.cols));
  if (!names.bias) return absl::OkStatus();
  made.bias = name + ".bias";
  return UsePlain(made.bias, shape.matrix ? shape.rows : shape.cols);
}

absl::Status Reader::ReadTensors(const Architecture& architecture) {
  const int64_t dim = info_.embedding_length;
  const GgufTensor* embedding = file_.FindTensor("token_embd.weight");
  if (embedding == nullptr) return Error("tensor 'token_embd.weight' is missing");
  const int64_t vocabulary = embedding->dims.back();
  if (vocabulary > kMaxDimension) {
    return Error("tensor 'token_embd.weight' has ", vocabulary, " rows, expected at most ", kMaxDimension);
  }
  info_.vocabulary = static_cast<int32_t>(vocabulary);
  info_.embedding.weight = "token_embd.weight";
  QZO_RETURN_IF_ERROR(Use("token_embd.weight", {dim, vocabulary}).status());
  info_.tied_head = file_.FindTensor("output.weight") == nullptr;
  info_.head.weight = info_.tied_head ? "token_embd.weight" : "output.weight";
  if (!info_.tied_head) QZO_RETURN_IF_ERROR(Use("output.weight", {dim, vocabulary}).status());
  if (architecture.positions != nullptr) {
    info_.positions.weight = "position_embd.weight";
    QZO_RETURN_IF_ERROR(
        Use(info_.positions.weight, {dim, int64_t{info_.context_length} + info_.position_offset}).status());
  }
  QZO_RETURN_IF_ERROR(UseNorm("output_norm", info_.norm == NormKind::kLayer, &info_.output_norm));
  for (const std::string& divisors : {info_.rope.divisors_tensor, info_.rope.long_divisors_tensor}) {
    if (!divisors.empty()) QZO_RETURN_IF_ERROR(UsePlain(divisors, info_.rotary_dim / 2));
  }
  for (int32_t layer = 0; layer < info_.layers; ++layer) {
    const std::string block = absl::StrCat("blk.", layer, ".");
    info_.blocks.emplace_back();
    for (const PartNames& part : architecture.parts) {
      QZO_RETURN_IF_ERROR(ReadPart(part, block, &info_.blocks.back()));
    }
  }
  return absl::OkStatus();
}

// A tensor that we would pass over (a bias, say) means that the file's model is not the one that we would compute.
absl::Status Reader::RefuseUnusedTensors(const Architecture& architecture) const {
  for (const GgufTensor& tensor : file_.tensors()) {
    if (used_.contains(tensor.name)) continue;
    const auto names = [&](const char* end) { return absl::EndsWith(tensor.name, end); };
    if (std::any_of(architecture.ignored.begin(), architecture.ignored.end(), names)) continue;
    return Error("tensor '", tensor.name, "' is no part of the architecture '", info_.architecture, "' of ",
                 info_.layers, " blocks as supported");
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
  QZO_ASSIGN_OR_RETURN(const std::string_view name, file_.GetString("general.architecture"));
  const Architecture* architecture = FindGgufArchitecture(name);
  if (architecture == nullptr) {
    return Error("architecture '", ToAbsl(name), "' is not supported, supported: ", SupportedGgufArchitectures());
  }
  info_.architecture = architecture->gguf;
  QZO_RETURN_IF_ERROR(architecture->read_gguf(GgufKeys(file_, name), &info_));
  QZO_RETURN_IF_ERROR(ReadTensors(*architecture));
  QZO_RETURN_IF_ERROR(RefuseUnusedTensors(*architecture));
  for (const GgufTensor& tensor : file_.tensors()) {
    int64_t values = 1;
    for (const int64_t dim : tensor.dims) values *= dim;
    info_.parameters += values;
    ++info_.tensor_types[std::string(TypeName(tensor.type))];
  }
  info_.file_bytes = file_.file_bytes();
  info_.CountBytes(
      [this](const std::string& tensor) { return static_cast<int64_t>(file_.FindTensor(tensor)->bytes.size()); });
  info_.ListUnquantized([this](const std::string& tensor) { return IsPlain(file_.FindTensor(tensor)->type); });
  return std::move(info_);
}

}  // namespace

void ModelInfo::CountBytes(const std::function<int64_t(const std::string& tensor)>& bytes_of) {
  const auto both = [&](const TensorNames& names) {
    return (names.weight.empty() ? 0 : bytes_of(names.weight)) + (names.bias.empty() ? 0 : bytes_of(names.bias));
  };
  embedding_bytes = both(embedding) + both(positions);
  head_bytes = both(head) + both(output_norm);
  block_bytes.clear();
  for (const auto& parts : blocks) {
    int64_t bytes = 0;
    for (const auto& [part, names] : parts) bytes += both(names);
    block_bytes.push_back(bytes);
  }
}

void ModelInfo::ListUnquantized(const std::function<bool(const std::string& tensor)>& plain) {
  unquantized.clear();
  const auto add = [this](const std::string& name, int64_t rows, int64_t cols) {
    if (!name.empty()) unquantized.push_back({name, rows, cols, /*group=*/cols, /*deltas=*/true});
  };
  if (plain(embedding.weight)) add(embedding.weight, vocabulary, embedding_length);
  if (!positions.weight.empty() && plain(positions.weight)) {
    add(positions.weight, int64_t{context_length} + position_offset, embedding_length);
  }
  unquantized_embeddings = static_cast<int32_t>(unquantized.size());
  for (const auto& parts : blocks) {
    for (const auto& [part, names] : parts) {
      const PartShape shape = ShapeOf(*this, part);
      if (!shape.matrix) add(names.weight, 1, shape.cols);
      add(names.bias, 1, shape.matrix ? shape.rows : shape.cols);
    }
  }
  unquantized_per_layer = (static_cast<int32_t>(unquantized.size()) - unquantized_embeddings) / layers;
  add(output_norm.weight, 1, embedding_length);
  add(output_norm.bias, 1, embedding_length);
  if (!tied_head && plain(head.weight)) add(head.weight, vocabulary, embedding_length);
}

int ModelInfo::FindUnquantized(const std::string& tensor) const {
  const auto at = std::find_if(unquantized.begin(), unquantized.end(),
                               [&](const method::TensorShape& shape) { return shape.name == tensor; });
  return at == unquantized.end() ? -1 : static_cast<int>(at - unquantized.begin());
}

std::vector<method::TensorShape> ModelInfo::TrainedBy(const method::MethodSpec& method) const {
  if (!method.train_unquantized) return trained;
  std::vector<method::TensorShape> tensors;
  auto multiplied = trained.begin();
  auto added = unquantized.begin();
  const auto take = [&tensors](auto* from, int64_t count) {
    tensors.insert(tensors.end(), *from, *from + count);
    *from += count;
  };
  take(&added, unquantized_embeddings);
  for (int32_t layer = 0; layer < layers; ++layer) {
    take(&multiplied, trained_per_layer());
    take(&added, unquantized_per_layer);
  }
  take(&added, unquantized.end() - added);
  return tensors;
}

method::Partition ModelInfo::PartitionFor(const method::MethodSpec& method, int32_t begin, int32_t end) const {
  const method::Partition whole = PartitionFor(method);
  const int32_t embeddings = method.train_unquantized ? unquantized_embeddings : 0;
  const int32_t per_layer = trained_per_layer() + (method.train_unquantized ? unquantized_per_layer : 0);
  const auto first = static_cast<size_t>(begin == 0 ? 0 : embeddings + begin * per_layer);
  const size_t last = end == layers ? whole.tensors().size() : static_cast<size_t>(embeddings + end * per_layer);
  return whole.Slice(first, last - first);
}

int64_t ModelInfo::ActivationBytes(int64_t rows) const {
  const int64_t q = int64_t{heads} * head_dim, kv = int64_t{kv_heads} * head_dim;
  const bool post_norms = !blocks.empty() && blocks[0].contains(Part::kPostAttentionNorm);
  const int64_t floats = int64_t{embedding_length} * (post_norms ? 2 : 1) + std::max<int64_t>(embedding_length, q) +
                         std::max<int64_t>(q + 2 * kv, int64_t{feed_forward_length} * (gated() ? 2 : 1));
  const int64_t rounded = std::max<int64_t>({embedding_length, q, feed_forward_length}) * kRoundedBlockBytes / 32;
  return rows * (floats * static_cast<int64_t>(sizeof(float)) + rounded + kRowBookkeepingBytes) +
         kHeadRows * (embedding_length + vocabulary) * static_cast<int64_t>(sizeof(float));
}

absl::StatusOr<ModelInfo> ReadModelInfo(const GgufFile& file) { return Reader(file).Read(); }

}  // namespace qzo::model
