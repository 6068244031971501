#include "client/convert_settings.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "model/formats/architecture.h"
#include "model/formats/gguf.h"
#include "model/formats/gguf_keys.h"
#include "model/graph/rope.h"

namespace qzo::client {
namespace {

using ::qzo::model::Architecture;
using ::qzo::model::ModelInfo;
using ::qzo::model::Rope;
using ::qzo::model::RopeScaling;

using RopeTensors = std::vector<std::pair<std::string, std::vector<float>>>;

std::string GgufName(const ModelInfo& info) {
  const Architecture* architecture = model::FindCheckpointArchitecture(info.architecture);
  QZO_CHECK(architecture != nullptr);
  return architecture->gguf != nullptr ? architecture->gguf : architecture->becomes;
}

// Writes under "<architecture>.".
class Writer {
 public:
  Writer(const ModelInfo& info, std::string prefix) : info_(info), prefix_(std::move(prefix)) {}

  SettingsInGguf Write() {
    result_.values.String("general.architecture", prefix_).Uint32("general.quantization_version", 2);
    prefix_ += '.';
    Number("block_count", info_.layers);
    Number("context_length", info_.context_length);
    Number("embedding_length", info_.embedding_length);
    Number("feed_forward_length", info_.feed_forward_length);
    Number("attention.head_count", info_.heads);
    Number("attention.head_count_kv", info_.kv_heads);
    Number("attention.key_length", info_.head_dim);
    Number("attention.value_length", info_.head_dim);
    const bool rms = info_.norm == model::NormKind::kRms;
    Float(rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon", info_.norm_epsilon);
    Float("attention.scale", info_.attention_scale);
    if (info_.attention_softcap != 0) Float("attn_logit_softcapping", info_.attention_softcap);
    if (info_.logit_softcap != 0) Float("final_logit_softcapping", info_.logit_softcap);
    WriteWindow();
    if (info_.rotary_dim != 0) WriteRope();
    return std::move(result_);
  }

 private:
  void Number(const char* key, int32_t value) {
    result_.values.Uint32(absl::StrCat(prefix_, key), static_cast<uint32_t>(value));
  }
  void Float(const char* key, double value) {
    result_.values.Float(absl::StrCat(prefix_, key), static_cast<float>(value));
  }

  // The last layer of a period sees everything.
  void WriteWindow() {
    const auto global = std::find(info_.local.begin(), info_.local.end(), false);
    if (std::find(info_.local.begin(), info_.local.end(), true) == info_.local.end()) return;
    Number("attention.sliding_window", info_.window);
    if (global == info_.local.end()) return;
    Number("attention.sliding_window_pattern", static_cast<int32_t>(global - info_.local.begin()) + 1);
  }

  void WriteRope() {
    const Rope& rope = info_.rope;
    Number("rope.dimension_count", info_.rotary_dim);
    Float("rope.freq_base", rope.base);
    if (info_.local_rope) Float("rope.freq_base_swa", info_.local_rope->base);
    switch (rope.scaling) {
      case RopeScaling::kNone:
        return;
      case RopeScaling::kLinear:
      case RopeScaling::kYarn:
        result_.values.String(prefix_ + "rope.scaling.type", rope.scaling == RopeScaling::kLinear ? "linear" : "yarn");
        Float("rope.scaling.factor", rope.factor);
        if (rope.scaling == RopeScaling::kLinear) return;
        Number("rope.scaling.original_context_length", rope.context);
        Float("rope.scaling.yarn_beta_fast", rope.high);
        Float("rope.scaling.yarn_beta_slow", rope.low);
        return;
      case RopeScaling::kLlama3:
      case RopeScaling::kDivisors:
        result_.tensors.emplace_back("rope_freqs.weight", RopeDivisors(info_, rope));
        return;
      case RopeScaling::kLongRope:
        Number("rope.scaling.original_context_length", rope.context);
        Float("rope.scaling.attn_factor", RopeMagnitude(rope));
        result_.tensors.emplace_back("rope_factors_short.weight", rope.divisors);
        result_.tensors.emplace_back("rope_factors_long.weight",
                                     rope.long_divisors.empty() ? rope.divisors : rope.long_divisors);
        return;
    }
  }

  const ModelInfo& info_;
  std::string prefix_;
  SettingsInGguf result_;
};

absl::StatusOr<ModelInfo> ReadBack(const SettingsInGguf& settings, const std::string& name) {
  std::vector<model::TensorToWrite> tensors;
  for (const auto& [tensor, values] : settings.tensors) {
    const std::string_view bytes(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    tensors.push_back({.name = tensor,
                       .dims = {static_cast<int64_t>(values.size())},
                       .type = model::GgmlType::kF32,
                       .size = bytes.size(),
                       .write = [bytes](const model::GgufSink& sink) { return sink(bytes); }});
  }
  std::string written;
  QZO_RETURN_IF_ERROR(
      model::WriteGguf(settings.values.Header(tensors.size()), tensors, {}, [&](std::string_view bytes) {
        written += bytes;
        return absl::OkStatus();
      }));
  QZO_ASSIGN_OR_RETURN(const auto file, model::GgufFile::ParseBytes(written, "the settings as GGUF"));
  ModelInfo info;
  QZO_RETURN_IF_ERROR(model::FindGgufArchitecture(name)->read_gguf(model::GgufKeys(*file, name), &info));
  return info;
}

bool Near(double a, double b) { return std::fabs(a - b) <= 1e-6 * std::fabs(a); }

bool Near(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) { return Near(x, y); });
}

// Two settings of one rotary embedding that compute the same.
bool SameRope(const ModelInfo& a, const Rope& of_a, const ModelInfo& b, const Rope& of_b, const RopeTensors& tensors) {
  const auto tensor = [&](const std::string& name, const std::vector<float>& otherwise) {
    for (const auto& [known, values] : tensors) {
      if (known == name) return values;
    }
    return otherwise;
  };
  const bool of_two = of_a.scaling == RopeScaling::kLongRope && a.context_length > of_a.context;
  if (of_two && (of_b.scaling != RopeScaling::kLongRope || of_b.context != of_a.context ||
                 !Near(of_a.long_divisors, tensor(of_b.long_divisors_tensor, of_b.long_divisors)))) {
    return false;
  }
  return Near(of_a.base, of_b.base) && Near(RopeMagnitude(of_a), RopeMagnitude(of_b)) &&
         Near(RopeDivisors(a, of_a), tensor(of_b.divisors_tensor, RopeDivisors(b, of_b)));
}

// Names of the settings that differ.
std::vector<std::string> Differences(const ModelInfo& a, const ModelInfo& b, const RopeTensors& tensors) {
  std::vector<std::string> names;
  const auto compare = [&](const char* name, bool same) {
    if (!same) names.push_back(name);
  };
  compare("sizes", a.layers == b.layers && a.embedding_length == b.embedding_length && a.heads == b.heads &&
                       a.feed_forward_length == b.feed_forward_length && a.kv_heads == b.kv_heads &&
                       a.head_dim == b.head_dim && a.rotary_dim == b.rotary_dim);
  compare("the context", a.context_length == b.context_length && a.position_offset == b.position_offset);
  compare("norms", a.norm == b.norm && a.norm_epsilon == b.norm_epsilon);
  compare("the activation", a.mlp == b.mlp);
  compare("the embedding's scale", a.embedding_scale == b.embedding_scale);
  compare("the scale of attention", Near(a.attention_scale, b.attention_scale));
  compare("soft caps", a.attention_softcap == b.attention_softcap && a.logit_softcap == b.logit_softcap);
  bool windows = true, any = false;
  for (int32_t layer = 0; layer < a.layers && a.layers == b.layers; ++layer) {
    windows = windows && a.IsLocal(layer) == b.IsLocal(layer);
    any = any || a.IsLocal(layer);
  }
  compare("which layers see a window", windows && (!any || a.window == b.window));
  compare("rotary embedding", a.rotary_dim == 0 || SameRope(a, a.rope, b, b.rope, tensors));
  compare("rotary embedding of local layers", a.local_rope.has_value() == b.local_rope.has_value() &&
                                                  (!a.local_rope || SameRope(a, *a.local_rope, b, *b.local_rope, {})));
  return names;
}

}  // namespace

absl::StatusOr<SettingsInGguf> SettingsToGguf(const ModelInfo& info) {
  const std::string name = GgufName(info);
  SettingsInGguf settings = Writer(info, name).Write();
  QZO_ASSIGN_OR_RETURN(const ModelInfo read, ReadBack(settings, name));
  const std::vector<std::string> differing = Differences(info, read, settings.tensors);
  if (!differing.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "GGUF files of '", name, "' can't say these settings of the model: ", absl::StrJoin(differing, ", ")));
  }
  settings.pairs_adjacent = read.rope_layout != info.rope_layout;
  return settings;
}

}  // namespace qzo::client
