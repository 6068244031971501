#include "model/formats/checkpoint_config.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/formats/config_object.h"

namespace qzo::model {
namespace {

using Json = nlohmann::json;

constexpr char kConfig[] = "config.json";
using Object = ConfigObject;

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

absl::Status ReadGroupSize(const Object& config, CheckpointQuantization* quantization) {
  const char* key = config.Get("group_size").is_null() ? "q_group_size" : "group_size";
  const Json group = config.Get(key);
  const bool whole = group == -1;
  if (!whole && (!group.is_number_unsigned() || group.get<uint64_t>() == 0 || group.get<uint64_t>() % 32 != 0 ||
                 group.get<uint64_t>() > static_cast<uint64_t>(kMaxDimension))) {
    return config.Error("'", key, "' is ", config.Shown(key), ", supported: multiples of 32, and -1 for a whole row");
  }
  quantization->group_size = whole ? -1 : group.get<int64_t>();
  return absl::OkStatus();
}

// Group sizes are said layer by layer.
absl::Status ReadBitsAndBytes(const Object& config, CheckpointQuantization* quantization) {
  quantization->storage = LinearStorage::kNf4;
  quantization->bits = 4;
  QZO_RETURN_IF_ERROR(config.Only("load_in_8bit", false));
  QZO_RETURN_IF_ERROR(config.Only("bnb_4bit_quant_storage", "uint8"));
  if (config.Get("bnb_4bit_quant_type") == "nf4") return absl::OkStatus();
  return config.Error("'bnb_4bit_quant_type' is ", config.Shown("bnb_4bit_quant_type"), ", supported: \"nf4\"");
}

absl::Status ReadAqlm(const Object& config, CheckpointQuantization* quantization) {
  quantization->storage = LinearStorage::kAqlm;
  QZO_RETURN_IF_ERROR(config.Only("in_group_size", 8));
  QZO_RETURN_IF_ERROR(config.Only("out_group_size", 1));
  const Json books = config.Get("num_codebooks"), bits = config.Get("nbits_per_codebook");
  if (!((books == 1 && (bits == 8 || bits == 16)) || (books == 2 && bits == 8))) {
    return config.Error("'num_codebooks' is ", config.Shown("num_codebooks"), " and 'nbits_per_codebook' ",
                        config.Shown("nbits_per_codebook"), ", supported: 1 of 16, 2 of 8 and 1 of 8");
  }
  quantization->codebooks = books.get<int>();
  quantization->bits = bits.get<int>();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<const Architecture*> ReadConfig(const Checkpoint& checkpoint, ModelInfo* info) {
  QZO_ASSIGN_OR_RETURN(const Object config, Object::Read(checkpoint, kConfig));
  const Json type = config.Get("model_type");
  const Architecture* architecture = type.is_string() ? FindCheckpointArchitecture(type.get<std::string>()) : nullptr;
  if (architecture == nullptr) {
    return config.Error("'model_type' is ", config.Shown("model_type"),
                        ", supported: ", SupportedCheckpointArchitectures());
  }
  info->architecture = architecture->checkpoint;
  QZO_RETURN_IF_ERROR(architecture->read_config(config, info));
  return architecture;
}

absl::StatusOr<CheckpointQuantization> ReadQuantization(const Checkpoint& checkpoint) {
  CheckpointQuantization quantization;
  std::optional<Object> found;
  QZO_ASSIGN_OR_RETURN(const Object config, Object::Read(checkpoint, kConfig));
  bool awq_file = false;
  if (!config.Get("quantization_config").is_null()) {
    QZO_ASSIGN_OR_RETURN(Object nested, config.Nested("quantization_config"));
    found.emplace(std::move(nested));
  }
  for (const char* name : {"quantize_config.json", "quant_config.json"}) {
    if (found.has_value() || checkpoint.File(name).empty()) continue;
    QZO_ASSIGN_OR_RETURN(Object file, Object::Read(checkpoint, name));
    found.emplace(std::move(file));
    awq_file = std::string_view(name) == "quant_config.json";  // AutoAWQ's own name for it
  }
  if (!found.has_value()) return quantization;
  const Json method = found->Get("quant_method");
  if (method == "gptq" || (method.is_null() && !awq_file)) {
    QZO_RETURN_IF_ERROR(ReadGptq(*found, &quantization));
    QZO_RETURN_IF_ERROR(ReadGroupSize(*found, &quantization));
  } else if (method == "awq" || method.is_null()) {
    QZO_RETURN_IF_ERROR(ReadAwq(*found, &quantization));
    QZO_RETURN_IF_ERROR(ReadGroupSize(*found, &quantization));
  } else if (method == "bitsandbytes") {
    QZO_RETURN_IF_ERROR(ReadBitsAndBytes(*found, &quantization));
  } else if (method == "aqlm") {
    QZO_RETURN_IF_ERROR(ReadAqlm(*found, &quantization));
  } else {
    return found->Error("'quant_method' is ", found->Shown("quant_method"),
                        ", supported: \"gptq\", \"awq\", \"bitsandbytes\" and \"aqlm\"");
  }
  return quantization;
}

}  // namespace qzo::model
