#include "model/formats/architecture.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/formats/architectures/all.h"

namespace qzo::model {
namespace {

const std::vector<Architecture>& All() {
  static const std::vector<Architecture>* const all =
      new std::vector<Architecture>{Llama(), Mistral(), Qwen2(), Qwen3(), Gemma2(), Gemma3(), Phi3(), Opt(), Gpt2()};
  return *all;
}

std::string Join(const char* quote, const char* Architecture::*name) {
  std::vector<std::string> names;
  for (const Architecture& architecture : All()) {
    if (architecture.*name == nullptr) continue;
    names.push_back(absl::StrCat(quote, architecture.*name, quote));
  }
  return absl::StrJoin(names, ", ");
}

const Architecture* Find(std::string_view wanted, const char* Architecture::*name) {
  for (const Architecture& architecture : All()) {
    if (architecture.*name != nullptr && wanted == architecture.*name) return &architecture;
  }
  return nullptr;
}

}  // namespace

const Architecture* FindGgufArchitecture(std::string_view name) { return Find(name, &Architecture::gguf); }
const Architecture* FindCheckpointArchitecture(std::string_view model_type) {
  return Find(model_type, &Architecture::checkpoint);
}
std::string SupportedGgufArchitectures() { return Join("'", &Architecture::gguf); }
std::string SupportedCheckpointArchitectures() { return Join("\"", &Architecture::checkpoint); }

PartShape ShapeOf(const ModelInfo& info, Part part) {
  const int64_t dim = info.embedding_length, wide = info.feed_forward_length;
  const int64_t q = int64_t{info.heads} * info.head_dim, kv = int64_t{info.kv_heads} * info.head_dim;
  switch (part) {
    case Part::kQ:
      return {true, q, dim};
    case Part::kK:
    case Part::kV:
      return {true, kv, dim};
    case Part::kQkv:
      return {true, q + 2 * kv, dim};
    case Part::kAttentionOutput:
      return {true, dim, q};
    case Part::kGate:
    case Part::kUp:
      return {true, wide, dim};
    case Part::kGateUp:
      return {true, 2 * wide, dim};
    case Part::kDown:
      return {true, dim, wide};
    case Part::kQNorm:
    case Part::kKNorm:
      return {false, 1, info.head_dim};
    default:
      return {false, 1, dim};
  }
}

}  // namespace qzo::model
