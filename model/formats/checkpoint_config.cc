#include "model/formats/checkpoint_config.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace qzo::model {
namespace {

using Json = nlohmann::json;

constexpr char kConfig[] = "config.json";
constexpr char kArchitecture[] = "llama";
// As for GGUF files (model_info.cc): bounds that keep products of two far inside 63 bits.
constexpr int32_t kMaxContextLength = 1 << 20;
constexpr int32_t kMaxDimension = 1 << 24;

// A JSON object of a file, with errors that name both.
class Object {
 public:
  Object(std::string where, Json json) : where_(std::move(where)), json_(std::move(json)) {}

  template <typename... Parts>
  absl::Status Error(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(where_, ": ", parts...));
  }
  // null where the key is missing.
  Json Get(const char* key) const { return json_.value(key, Json()); }
  // What was found, for people.
  std::string Shown(const char* key) const { return Get(key).dump().substr(0, 60); }

  absl::StatusOr<int32_t> Dimension(const char* key, std::optional<int32_t> otherwise = std::nullopt,
                                    int32_t max = kMaxDimension) const {
    const Json value = Get(key);
    if (value.is_null() && otherwise.has_value()) return *otherwise;
    if (!value.is_number_unsigned() || value.get<uint64_t>() < 1 ||
        value.get<uint64_t>() > static_cast<uint64_t>(max)) {
      return Error("'", key, "' is ", Shown(key), ", expected 1 to ", max);
    }
    return value.get<int32_t>();
  }
  absl::StatusOr<double> Positive(const char* key, std::optional<double> otherwise = std::nullopt) const {
    const Json value = Get(key);
    if (value.is_null() && otherwise.has_value()) return *otherwise;
    const float narrowed = value.is_number() ? value.get<float>() : 0.0f;
    if (!std::isfinite(narrowed) || narrowed <= 0) {
      return Error("'", key, "' is ", Shown(key), ", expected a positive number");
    }
    return value.get<double>();
  }
  // Refuses any value but absence, null and `expected`: the model would be another one.
  absl::Status Only(const char* key, const Json& expected) const {
    const Json value = Get(key);
    if (value.is_null() || value == expected) return absl::OkStatus();
    return Error("'", key, "' is ", Shown(key), ", supported: ", expected.dump());
  }
  absl::StatusOr<Object> Nested(const char* key) const {
    Json value = Get(key);
    if (!value.is_object()) return Error("'", key, "' is ", Shown(key), ", expected an object");
    return Object(absl::StrCat(where_, ": ", key), std::move(value));
  }

 private:
  const std::string where_;
  const Json json_;
};

absl::StatusOr<Object> ReadObject(const Checkpoint& checkpoint, const char* name) {
  std::string where = absl::StrCat(checkpoint.path(), "/", name);
  Json json = Json::parse(checkpoint.File(name), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(where, ": missing, or not a JSON object"));
  return Object(std::move(where), std::move(json));
}

absl::Status ReadLlama3Scaling(const Object& config, ModelInfo* info) {
  Llama3Scaling scaling;
  QZO_ASSIGN_OR_RETURN(scaling.factor, config.Positive("factor"));
  QZO_ASSIGN_OR_RETURN(scaling.low, config.Positive("low_freq_factor"));
  QZO_ASSIGN_OR_RETURN(scaling.high, config.Positive("high_freq_factor"));
  QZO_ASSIGN_OR_RETURN(scaling.context, config.Dimension("original_max_position_embeddings"));
  if (scaling.high <= scaling.low) {
    return config.Error("'high_freq_factor' is ", scaling.high, ", expected more than low_freq_factor, ", scaling.low);
  }
  info->rope_scaling = scaling;
  return absl::OkStatus();
}

// `rope_theta` and `rope_scaling`, or both in `rope_parameters`, as newer writers have it.
absl::Status ReadRope(const Object& config, ModelInfo* info) {
  const bool nested = config.Get("rope_parameters").is_object();
  if (nested) {
    QZO_ASSIGN_OR_RETURN(const Object parameters, config.Nested("rope_parameters"));
    QZO_ASSIGN_OR_RETURN(const double base, parameters.Positive("rope_theta", 10000.0));
    info->rope_base = static_cast<float>(base);
  } else {
    QZO_ASSIGN_OR_RETURN(const double base, config.Positive("rope_theta", 10000.0));
    info->rope_base = static_cast<float>(base);
  }
  const char* key = nested ? "rope_parameters" : "rope_scaling";
  if (config.Get(key).is_null()) return absl::OkStatus();
  QZO_ASSIGN_OR_RETURN(const Object scaling, config.Nested(key));
  const char* type = scaling.Get("rope_type").is_null() ? "type" : "rope_type";
  if (scaling.Get(type) == "llama3") return ReadLlama3Scaling(scaling, info);
  if (scaling.Get(type).is_null() || scaling.Get(type) == "default") return absl::OkStatus();
  return scaling.Error("'", type, "' is ", scaling.Shown(type), ", supported: \"default\" and \"llama3\"");
}

absl::Status ReadGptq(const Object& config, CheckpointQuantization* quantization) {
  quantization->storage = LinearStorage::kGptq;
  const char* format = config.Get("checkpoint_format").is_null() ? "format" : "checkpoint_format";
  const Json value = config.Get(format);
  quantization->zeros_minus_one = value.is_null() || value == "gptq";
  if (!quantization->zeros_minus_one && value != "gptq_v2") {
    return config.Error("'", format, "' is ", config.Shown(format), ", supported: \"gptq\" and \"gptq_v2\"");
  }
  const Json bits = config.Get("bits").is_null() ? config.Get("w_bit") : config.Get("bits");
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8) {
    return config.Error("'bits' is ", bits.dump().substr(0, 60), ", supported: 2, 3, 4 and 8");
  }
  quantization->bits = bits.get<int>();
  if (const Json dynamic = config.Get("dynamic"); !dynamic.empty()) {
    return config.Error("'dynamic' is ", config.Shown("dynamic"),
                        ": settings that differ between layers are not supported");
  }
  return config.Only("pack_dtype", "int32");
}

absl::Status ReadAwq(const Object& config, CheckpointQuantization* quantization) {
  quantization->storage = LinearStorage::kAwq;
  const char* bits = config.Get("bits").is_null() ? "w_bit" : "bits";
  QZO_RETURN_IF_ERROR(config.Only(bits, 4));
  QZO_RETURN_IF_ERROR(config.Only("zero_point", true));
  quantization->bits = 4;
  const Json version = config.Get("version");
  if (version.is_null() || version == "gemm" || version == "GEMM") return absl::OkStatus();
  return config.Error("'version' is ", config.Shown("version"), ", supported: \"gemm\"");
}

}  // namespace

absl::StatusOr<ModelInfo> ReadConfig(const Checkpoint& checkpoint) {
  QZO_ASSIGN_OR_RETURN(const Object config, ReadObject(checkpoint, kConfig));
  ModelInfo info;
  if (config.Get("model_type") != kArchitecture) {
    return config.Error("'model_type' is ", config.Shown("model_type"), ", supported: \"", kArchitecture, "\"");
  }
  info.architecture = kArchitecture;
  QZO_RETURN_IF_ERROR(config.Only("hidden_act", "silu"));
  QZO_RETURN_IF_ERROR(config.Only("attention_bias", false));
  QZO_RETURN_IF_ERROR(config.Only("mlp_bias", false));
  QZO_ASSIGN_OR_RETURN(info.layers, config.Dimension("num_hidden_layers"));
  QZO_ASSIGN_OR_RETURN(info.context_length, config.Dimension("max_position_embeddings", 2048, kMaxContextLength));
  QZO_ASSIGN_OR_RETURN(info.embedding_length, config.Dimension("hidden_size"));
  QZO_ASSIGN_OR_RETURN(info.feed_forward_length, config.Dimension("intermediate_size"));
  QZO_ASSIGN_OR_RETURN(info.vocabulary, config.Dimension("vocab_size"));
  QZO_ASSIGN_OR_RETURN(info.heads, config.Dimension("num_attention_heads"));
  QZO_ASSIGN_OR_RETURN(info.kv_heads, config.Dimension("num_key_value_heads", info.heads));
  if (info.heads % info.kv_heads != 0) {
    return config.Error("'num_key_value_heads' is ", info.kv_heads, ", which does not divide the ", info.heads,
                        " heads");
  }
  if (config.Get("head_dim").is_null() && info.embedding_length % info.heads != 0) {
    return config.Error("'hidden_size' is ", info.embedding_length, ", no multiple of the ", info.heads, " heads");
  }
  QZO_ASSIGN_OR_RETURN(info.head_dim, config.Dimension("head_dim", info.embedding_length / info.heads));
  if (info.head_dim % 2 != 0 || int64_t{info.heads} * info.head_dim > kMaxDimension) {
    return config.Error(info.heads, " heads of ", info.head_dim, " values, expected an even size and at most ",
                        kMaxDimension, " values");
  }
  info.rotary_dim = info.head_dim;
  QZO_ASSIGN_OR_RETURN(const double epsilon, config.Positive("rms_norm_eps", 1e-6));
  info.norm_epsilon = static_cast<float>(epsilon);
  QZO_RETURN_IF_ERROR(ReadRope(config, &info));
  info.rope_layout = RopeLayout::kHalves;
  info.tied_head = config.Get("tie_word_embeddings") == true;
  return info;
}

absl::StatusOr<CheckpointQuantization> ReadQuantization(const Checkpoint& checkpoint) {
  CheckpointQuantization quantization;
  std::optional<Object> found;
  QZO_ASSIGN_OR_RETURN(const Object config, ReadObject(checkpoint, kConfig));
  bool awq_file = false;
  if (!config.Get("quantization_config").is_null()) {
    QZO_ASSIGN_OR_RETURN(Object nested, config.Nested("quantization_config"));
    found.emplace(std::move(nested));
  }
  for (const char* name : {"quantize_config.json", "quant_config.json"}) {
    if (found.has_value() || checkpoint.File(name).empty()) continue;
    QZO_ASSIGN_OR_RETURN(Object file, ReadObject(checkpoint, name));
    found.emplace(std::move(file));
    awq_file = std::string_view(name) == "quant_config.json";  // AutoAWQ's own name for it
  }
  if (!found.has_value()) return quantization;
  const Json method = found->Get("quant_method");
  if (method == "gptq" || (method.is_null() && !awq_file)) {
    QZO_RETURN_IF_ERROR(ReadGptq(*found, &quantization));
  } else if (method == "awq" || method.is_null()) {
    QZO_RETURN_IF_ERROR(ReadAwq(*found, &quantization));
  } else {
    return found->Error("'quant_method' is ", found->Shown("quant_method"), ", supported: \"gptq\" and \"awq\"");
  }
  const char* key = found->Get("group_size").is_null() ? "q_group_size" : "group_size";
  const Json group = found->Get(key);
  const bool whole = group == -1;
  if (!whole && (!group.is_number_unsigned() || group.get<uint64_t>() == 0 || group.get<uint64_t>() % 32 != 0 ||
                 group.get<uint64_t>() > static_cast<uint64_t>(kMaxDimension))) {
    return found->Error("'", key, "' is ", found->Shown(key), ", supported: multiples of 32, and -1 for a whole row");
  }
  quantization.group_size = whole ? -1 : group.get<int64_t>();
  return quantization;
}

}  // namespace qzo::model
