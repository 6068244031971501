#include "method/adapter.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace qzo::method {
namespace {

using Json = nlohmann::json;

constexpr char kVersion[] = "1";
constexpr char kVersionWithDeltas[] = "2";
constexpr char kJournal[] = "qzo.journal";
constexpr char kMetadata[] = "__metadata__";
constexpr uint64_t kMaxHeaderBytes = 16 << 20;  // some 10⁵ tensors; as JSON values a header takes many times its bytes
constexpr int64_t kMaxValues = int64_t{1} << 40;

template <typename... Parts>
absl::Status Bad(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("adapter file: ", parts...));
}

// Strings that are not UTF-8 (a job name never is) lose their bad bytes instead of throwing.
std::string Dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::vector<int64_t> ShapeOf(Granularity granularity, const TensorShape& shape) {
  if (shape.deltas) return {shape.rows, shape.cols};
  if (granularity == Granularity::kChannel) return {shape.rows};
  return {shape.rows, shape.cols / shape.group};
}

// --- what __metadata__ says ---

// Every integer field of MethodSpec under its name, in one place for both directions; 64-bit values are decimal strings
// because other readers' JSON numbers are doubles.
template <typename Spec, typename Visit>
void VisitIntegers(Spec& spec, const Visit& visit) {
  visit("steps", spec.steps);
  visit("probes", spec.probes);
  visit("micro_batches", spec.micro_batches);
  visit("batch_size", spec.batch_size);
}

template <typename Spec, typename Visit>
void VisitReals(Spec& spec, const Visit& visit) {
  visit("epsilon", spec.epsilon);
  visit("learning_rate", spec.learning_rate);
  visit("warmup_ratio", spec.warmup_ratio);
  visit("clip", spec.clip);
}

// The last argument is the largest value the enum has; the least is 1.
template <typename Spec, typename Visit>
void VisitEnums(Spec& spec, const Visit& visit) {
  visit("granularity", spec.granularity, Granularity::kGroup);
  visit("mode", spec.mode, Mode::kAbsolute);
  visit("noise", spec.noise, Noise::kGaussian);
  visit("rule", spec.rule, Rule::kClip);
  visit("lr_schedule", spec.schedule, Schedule::kCosine);
  visit("sampling", spec.sampling, Sampling::kBalanced);
}

Json MethodJson(const MethodSpec& spec) {
  Json json = {{"seed", absl::StrCat(spec.seed)}};
  VisitIntegers(spec, [&](const char* name, uint32_t value) { json[name] = value; });
  VisitReals(spec, [&](const char* name, double value) { json[name] = value; });
  VisitEnums(spec, [&](const char* name, auto value, auto) { json[name] = static_cast<int>(value); });
  if (spec.train_unquantized) json["delta_unit"] = spec.delta_unit;
  return json;
}

absl::StatusOr<uint64_t> ParseUint64(const Json& json, const char* name) {
  const auto at = json.find(name);
  uint64_t value = 0;
  if (at != json.end() && at->is_string()) {
    const std::string& text = at->get_ref<const std::string&>();
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size() && !text.empty()) return value;
  }
  return Bad(name, ": missing or not a decimal number in a string");
}

absl::StatusOr<std::string> ParseString(const Json& json, const char* name) {
  const auto at = json.find(name);
  if (at == json.end() || !at->is_string()) return Bad(name, ": missing or not a string");
  return at->get<std::string>();
}

// A metadata value that is itself JSON.
absl::StatusOr<Json> ParseNested(const Json& metadata, const char* name) {
  QZO_ASSIGN_OR_RETURN(const std::string text, ParseString(metadata, name));
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return Bad(name, ": not JSON");
  return json;
}

absl::StatusOr<MethodSpec> ParseMethod(const Json& metadata, bool with_deltas) {
  QZO_ASSIGN_OR_RETURN(const Json json, ParseNested(metadata, "method"));
  if (!json.is_object()) return Bad("method: not a JSON object");
  MethodSpec spec;
  QZO_ASSIGN_OR_RETURN(spec.seed, ParseUint64(json, "seed"));
  absl::Status status;
  const auto find = [&](const char* name, uint64_t least, uint64_t most) -> std::optional<uint64_t> {
    const auto at = json.find(name);
    if (at != json.end() && at->is_number_unsigned()) {
      const uint64_t value = at->get<uint64_t>();
      if (value >= least && value <= most) return value;
    }
    status.Update(Bad("method.", name, ": missing or not an integer from ", least, " to ", most));
    return std::nullopt;
  };
  VisitIntegers(spec, [&](const char* name, uint32_t& value) {
    value = static_cast<uint32_t>(find(name, 0, std::numeric_limits<uint32_t>::max()).value_or(0));
  });
  VisitEnums(spec, [&]<typename Enum>(const char* name, Enum& value, Enum last) {
    value = static_cast<Enum>(find(name, 1, static_cast<uint64_t>(last)).value_or(1));
  });
  const auto read_real = [&]<typename Real>(const char* name, Real& value) {
    const auto at = json.find(name);
    if (at == json.end() || !at->is_number()) {
      status.Update(Bad("method.", name, ": missing or not a number"));
    } else {
      value = static_cast<Real>(at->get<double>());
    }
  };
  VisitReals(spec, read_real);
  spec.train_unquantized = with_deltas;
  if (with_deltas) read_real("delta_unit", spec.delta_unit);
  QZO_RETURN_IF_ERROR(status);
  if (const absl::Status valid = spec.Validate(); !valid.ok()) return Bad(valid.message());
  return spec;
}

absl::StatusOr<std::vector<TensorShape>> ParsePartition(const Json& metadata, const MethodSpec& spec) {
  QZO_ASSIGN_OR_RETURN(const Json json, ParseNested(metadata, "partition"));
  if (!json.is_array() || json.empty()) return Bad("partition: not a JSON array with at least one tensor");
  std::vector<TensorShape> shapes;
  std::set<std::string> names;
  int64_t total = 0;
  for (const Json& entry : json) {
    const std::string where = absl::StrCat("partition[", shapes.size(), "]");
    if (!entry.is_object()) return Bad(where, ": not a JSON object");
    TensorShape shape;
    QZO_ASSIGN_OR_RETURN(shape.name, ParseString(entry, "name"));
    if (shape.name.empty() || shape.name == kMetadata || shape.name == kJournal || !names.insert(shape.name).second) {
      return Bad(where, ": the name '", shape.name, "' is empty, reserved or used twice");
    }
    const std::initializer_list<std::pair<const char*, int64_t*>> sizes = {
        {"rows", &shape.rows}, {"cols", &shape.cols}, {"group", &shape.group}};
    for (const auto& [name, value] : sizes) {
      const auto at = entry.find(name);
      if (at == entry.end() || !at->is_number_unsigned() ||
          at->get<uint64_t>() - 1 >= std::numeric_limits<int32_t>::max()) {
        return Bad(where, ".", name, ": missing or not an integer from 1 to ", std::numeric_limits<int32_t>::max());
      }
      *value = at->get<int64_t>();
    }
    if (const auto deltas = entry.find("deltas"); deltas != entry.end()) {
      if (!deltas->is_boolean()) return Bad(where, ".deltas: not true or false");
      shape.deltas = deltas->get<bool>();
    }
    if (shape.deltas && !spec.train_unquantized) return Bad(where, ": deltas in version ", kVersion);
    if (shape.deltas && shape.group != shape.cols) {
      return Bad(where, ": group ", shape.group, " of deltas, expected cols, ", shape.cols);
    }
    if (shape.cols % shape.group != 0) return Bad(where, ": group ", shape.group, " does not divide cols ", shape.cols);
    int64_t values = 1;
    for (const int64_t size : ShapeOf(spec.granularity, shape)) values *= size;
    total += values;
    if (total > kMaxValues) return Bad(where, ": more than ", kMaxValues, " multipliers and deltas so far");
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

// --- safetensors ---

struct Entry {
  std::string dtype;
  std::vector<uint64_t> shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

std::optional<std::vector<uint64_t>> ParseSizes(const Json& json, const char* name) {
  const auto at = json.find(name);
  if (at == json.end() || !at->is_array()) return std::nullopt;
  std::vector<uint64_t> sizes;
  for (const Json& value : *at) {
    if (!value.is_number_unsigned()) return std::nullopt;
    sizes.push_back(value.get<uint64_t>());
  }
  return sizes;
}

// The tensors by name, their ranges inside the data, in order, without overlap or gap.
absl::StatusOr<std::vector<std::pair<std::string, Entry>>> ParseEntries(const Json& header, uint64_t data_bytes) {
  std::vector<std::pair<std::string, Entry>> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == kMetadata) continue;
    if (!value.is_object()) return Bad("tensor '", name, "': not a JSON object");
    Entry entry;
    QZO_ASSIGN_OR_RETURN(entry.dtype, ParseString(value, "dtype"));
    const auto shape = ParseSizes(value, "shape");
    const auto offsets = ParseSizes(value, "data_offsets");
    if (!shape || !offsets || offsets->size() != 2) {
      return Bad("tensor '", name, "': shape or data_offsets missing or not lists of sizes");
    }
    entry.shape = *shape;
    entry.begin = (*offsets)[0];
    entry.end = (*offsets)[1];
    if (entry.begin > entry.end || entry.end > data_bytes) {
      return Bad("tensor '", name, "': data_offsets [", entry.begin, ", ", entry.end, "] outside the ", data_bytes,
                 " bytes of data");
    }
    entries.emplace_back(name, std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second.begin, a.second.end) < std::pair(b.second.begin, b.second.end);
  });
  uint64_t position = 0;
  for (const auto& [name, entry] : entries) {
    if (entry.begin != position) {
      return Bad("tensor '", name, "': begins at ", entry.begin, ", expected ", position, " (no overlap, no gap)");
    }
    position = entry.end;
  }
  if (position != data_bytes) return Bad(data_bytes - position, " bytes after the last tensor");
  return entries;
}

// The bytes of the tensor `name`, which must have this type and shape.
absl::StatusOr<std::string_view> TensorBytes(const std::vector<std::pair<std::string, Entry>>& entries,
                                             std::string_view data, const std::string& name, const char* dtype,
                                             uint64_t element_bytes, const std::vector<uint64_t>& shape) {
  const auto at = std::find_if(entries.begin(), entries.end(), [&](const auto& entry) { return entry.first == name; });
  if (at == entries.end()) return Bad("no tensor '", name, "'");
  const Entry& entry = at->second;
  uint64_t bytes = element_bytes;
  for (const uint64_t size : shape) bytes *= size;
  if (entry.dtype != dtype || entry.shape != shape || entry.end - entry.begin != bytes) {
    return Bad("tensor '", name, "': ", entry.dtype, " of ", entry.end - entry.begin, " bytes, expected ", dtype,
               " of ", bytes, " and the partition's shape");
  }
  return data.substr(entry.begin, bytes);
}

absl::Status ReadJournal(const std::vector<std::pair<std::string, Entry>>& entries, std::string_view data,
                         Adapter* adapter) {
  const auto at =
      std::find_if(entries.begin(), entries.end(), [](const auto& entry) { return entry.first == kJournal; });
  const uint64_t bytes = at == entries.end() ? 0 : at->second.end - at->second.begin;
  QZO_ASSIGN_OR_RETURN(const std::string_view encoded, TensorBytes(entries, data, kJournal, "U8", 1, {bytes}));
  QZO_ASSIGN_OR_RETURN(JournalChunk journal, DecodeJournal(encoded));
  if (journal.records.size() != adapter->step) {
    return Bad("the journal holds ", journal.records.size(), " steps, expected ", adapter->step);
  }
  if (!journal.records.empty() && journal.records.front().d.size() != adapter->spec.probes) {
    return Bad("the journal holds ", journal.records.front().d.size(), " probes, expected ", adapter->spec.probes);
  }
  adapter->journal = std::move(journal.records);
  adapter->state_after = journal.state_after;
  return absl::OkStatus();
}

absl::Status ReadMultipliers(const std::vector<std::pair<std::string, Entry>>& entries, std::string_view data,
                             Adapter* adapter) {
  for (const TensorShape& tensor : adapter->tensors) {
    const std::vector<int64_t> dims = ShapeOf(adapter->spec.granularity, tensor);
    QZO_ASSIGN_OR_RETURN(const std::string_view bytes,
                         TensorBytes(entries, data, tensor.name, "F32", sizeof(float), {dims.begin(), dims.end()}));
    const size_t first = adapter->multipliers.size();
    adapter->multipliers.resize(first + bytes.size() / sizeof(float));
    std::memcpy(adapter->multipliers.data() + first, bytes.data(), bytes.size());
    if (!std::all_of(adapter->multipliers.begin() + static_cast<std::ptrdiff_t>(first), adapter->multipliers.end(),
                     [](float k) { return std::isfinite(k); })) {
      return Bad("tensor '", tensor.name, "': holds values that are not finite");
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string EncodeAdapter(const Adapter& adapter) {
  Json partition = Json::array();
  for (const TensorShape& tensor : adapter.tensors) {
    partition.push_back({{"name", tensor.name}, {"rows", tensor.rows}, {"cols", tensor.cols}, {"group", tensor.group}});
    if (tensor.deltas) partition.back()["deltas"] = true;
  }
  Json header;
  header[kMetadata] = {{"qzo_adapter", adapter.spec.train_unquantized ? kVersionWithDeltas : kVersion},
                       {"content", adapter.has_multipliers() ? "multipliers" : "journal"},
                       {"base_model_digest", adapter.base_model_digest},
                       {"method", Dump(MethodJson(adapter.spec))},
                       {"partition", Dump(partition)},
                       {"step", absl::StrCat(adapter.step)},
                       {"replica_digest", absl::StrCat(adapter.replica_digest)},
                       {"job", adapter.job},
                       {"task", adapter.task_json}};
  std::string data;
  const auto add = [&](const std::string& name, const char* dtype, const auto& shape, std::string_view bytes) {
    header[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {data.size(), data.size() + bytes.size()}}};
    data += bytes;
  };
  if (adapter.has_multipliers()) {
    const Partition layout(adapter.spec.granularity, adapter.tensors);
    QZO_CHECK(layout.values() == static_cast<int64_t>(adapter.multipliers.size()));
    for (const PartitionTensor& tensor : layout.tensors()) {
      add(tensor.shape.name, "F32", ShapeOf(adapter.spec.granularity, tensor.shape),
          {reinterpret_cast<const char*>(adapter.multipliers.data() + tensor.offset),
           static_cast<size_t>(tensor.count) * sizeof(float)});
    }
  } else {
    QZO_CHECK(adapter.journal.size() == adapter.step);
    const std::string journal = adapter.journal.empty() ? "" : EncodeChunk({adapter.journal, adapter.state_after});
    add(kJournal, "U8", std::vector<size_t>{journal.size()}, journal);
  }
  std::string text = Dump(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // keeps the data aligned
  const uint64_t length = text.size();
  std::string out(reinterpret_cast<const char*>(&length), sizeof length);
  return out + text + data;
}

absl::StatusOr<Adapter> DecodeAdapter(std::string_view bytes) {
  uint64_t length = 0;
  if (bytes.size() < sizeof length) return Bad(bytes.size(), " bytes, expected at least ", sizeof length);
  std::memcpy(&length, bytes.data(), sizeof length);
  bytes.remove_prefix(sizeof length);
  if (length > bytes.size() || length > kMaxHeaderBytes) {
    return Bad("header of ", length, " bytes, expected at most ", std::min<uint64_t>(bytes.size(), kMaxHeaderBytes));
  }
  const std::string_view data = bytes.substr(length);
  const Json header = Json::parse(bytes.substr(0, length), nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) return Bad("the header is not a JSON object");
  const auto at = header.find(kMetadata);
  if (at == header.end() || !at->is_object() || !at->contains("qzo_adapter")) {
    return Bad("a safetensors file perhaps, but without 'qzo_adapter' in its ", kMetadata);
  }
  const Json& metadata = *at;
  QZO_ASSIGN_OR_RETURN(const std::string version, ParseString(metadata, "qzo_adapter"));
  const bool with_deltas = version == kVersionWithDeltas;
  if (version != kVersion && !with_deltas) {
    return Bad("version ", version, ", expected ", kVersion, " or ", kVersionWithDeltas);
  }

  Adapter adapter;
  QZO_ASSIGN_OR_RETURN(adapter.base_model_digest, ParseString(metadata, "base_model_digest"));
  if (!base::IsSha256Hex(adapter.base_model_digest))
    return Bad("base_model_digest: not a SHA-256 in hexadecimal digits");
  QZO_ASSIGN_OR_RETURN(adapter.spec, ParseMethod(metadata, with_deltas));
  QZO_ASSIGN_OR_RETURN(adapter.tensors, ParsePartition(metadata, adapter.spec));
  QZO_ASSIGN_OR_RETURN(const uint64_t step, ParseUint64(metadata, "step"));
  if (step > adapter.spec.steps) return Bad("step ", step, " of a run of ", adapter.spec.steps);
  adapter.step = static_cast<uint32_t>(step);
  QZO_ASSIGN_OR_RETURN(adapter.replica_digest, ParseUint64(metadata, "replica_digest"));
  QZO_ASSIGN_OR_RETURN(adapter.job, ParseString(metadata, "job"));
  QZO_ASSIGN_OR_RETURN(adapter.task_json, ParseString(metadata, "task"));

  QZO_ASSIGN_OR_RETURN(const auto entries, ParseEntries(header, data.size()));
  QZO_ASSIGN_OR_RETURN(const std::string content, ParseString(metadata, "content"));
  if (content == "journal") {
    QZO_RETURN_IF_ERROR(ReadJournal(entries, data, &adapter));
  } else if (content == "multipliers") {
    QZO_RETURN_IF_ERROR(ReadMultipliers(entries, data, &adapter));
  } else {
    return Bad("content: '", content, "', expected journal or multipliers");
  }
  return adapter;
}

}  // namespace qzo::method
