#include "model/formats/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"

namespace qzo::model {
namespace {

using base::ToAbsl;

static_assert(std::endian::native == std::endian::little, "GGUF values are read in place");

enum ValueType : uint32_t {
  kUint8 = 0,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};
constexpr std::array<std::string_view, 13> kTypeNames = {"uint8",  "int8",    "uint16", "int16",  "uint32",
                                                         "int32",  "float32", "bool",   "string", "array",
                                                         "uint64", "int64",   "float64"};
// 0 for the types without a fixed size.
constexpr std::array<uint64_t, 13> kTypeSizes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

constexpr int kMaxArrayDepth = 4;
constexpr uint64_t kMaxNameBytes = 64;        // of a tensor
constexpr uint64_t kMaxKeyBytes = 65535;      // both limits are the format's own
constexpr uint64_t kMinKeyValueBytes = 13;    // an empty key, a type, one byte
constexpr uint64_t kMinTensorInfoBytes = 32;  // an empty name, one dimension

bool IsInteger(uint32_t type) { return type <= kInt32 || type == kUint64 || type == kInt64; }
bool IsFloat(uint32_t type) { return type == kFloat32 || type == kFloat64; }
std::string TypeName(uint32_t type) {
  return type < kTypeNames.size() ? std::string(kTypeNames[type]) : absl::StrCat("type ", type);
}

// Text from the file, for people: shortened between characters and without control characters.
std::string Shown(std::string_view text, size_t max_bytes) {
  size_t size = std::min(text.size(), max_bytes);
  while (size > 0 && size < text.size() && (text[size] & 0xC0) == 0x80) --size;
  const absl::string_view shown = ToAbsl(text.substr(0, size));
  const bool valid = base::FindInvalidUtf8(base::ToStd(shown)) == std::string_view::npos;
  return absl::StrCat(valid ? absl::Utf8SafeCEscape(shown) : absl::CEscape(shown), size < text.size() ? "…" : "");
}

std::string Quoted(std::string_view name) { return absl::StrCat("'", Shown(name, 80), "'"); }

template <typename T>
T Load(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// nullopt for a uint64 beyond int64.
std::optional<int64_t> LoadInt(uint32_t type, const char* at) {
  switch (type) {
    case kUint8:
      return Load<uint8_t>(at);
    case kInt8:
      return Load<int8_t>(at);
    case kUint16:
      return Load<uint16_t>(at);
    case kInt16:
      return Load<int16_t>(at);
    case kUint32:
      return Load<uint32_t>(at);
    case kInt32:
      return Load<int32_t>(at);
    case kInt64:
      return Load<int64_t>(at);
    default: {
      const auto value = Load<uint64_t>(at);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(value);
    }
  }
}

double LoadFloat(uint32_t type, const char* at) { return type == kFloat32 ? Load<float>(at) : Load<double>(at); }

}  // namespace

const GgmlTypeInfo* FindGgmlType(uint32_t type) {
  static constexpr std::array<GgmlTypeInfo, 40> kTypes = [] {
    std::array<GgmlTypeInfo, 40> t{};
    const auto set = [&t](GgmlType id, std::string_view name, int64_t values, int64_t bytes, int64_t group) {
      t[static_cast<uint32_t>(id)] = {name, values, bytes, group};
    };
    set(GgmlType::kF32, "F32", 1, 4, 1);
    set(GgmlType::kF16, "F16", 1, 2, 1);
    set(GgmlType::kBF16, "BF16", 1, 2, 1);
    set(GgmlType::kQ4_0, "Q4_0", 32, 18, 32);
    set(GgmlType::kQ4_1, "Q4_1", 32, 20, 32);
    set(GgmlType::kQ5_0, "Q5_0", 32, 22, 32);
    set(GgmlType::kQ5_1, "Q5_1", 32, 24, 32);
    set(GgmlType::kQ8_0, "Q8_0", 32, 34, 32);
    set(GgmlType::kQ2_K, "Q2_K", 256, 84, 16);
    set(GgmlType::kQ3_K, "Q3_K", 256, 110, 16);
    set(GgmlType::kQ4_K, "Q4_K", 256, 144, 32);
    set(GgmlType::kQ5_K, "Q5_K", 256, 176, 32);
    set(GgmlType::kQ6_K, "Q6_K", 256, 210, 16);
    set(GgmlType::kIQ2_XXS, "IQ2_XXS", 256, 66, 32);
    set(GgmlType::kIQ2_XS, "IQ2_XS", 256, 74, 16);
    set(GgmlType::kIQ3_XXS, "IQ3_XXS", 256, 98, 32);
    set(GgmlType::kIQ1_S, "IQ1_S", 256, 50, 32);
    set(GgmlType::kIQ4_NL, "IQ4_NL", 32, 18, 32);
    set(GgmlType::kIQ3_S, "IQ3_S", 256, 110, 32);
    set(GgmlType::kIQ2_S, "IQ2_S", 256, 82, 16);
    set(GgmlType::kIQ4_XS, "IQ4_XS", 256, 136, 32);
    set(GgmlType::kIQ1_M, "IQ1_M", 256, 56, 16);
    set(GgmlType::kTQ1_0, "TQ1_0", 256, 54, 256);
    set(GgmlType::kTQ2_0, "TQ2_0", 256, 66, 256);
    set(GgmlType::kMXFP4, "MXFP4", 32, 17, 32);
    return t;
  }();
  return type < kTypes.size() && kTypes[type].block_values != 0 ? &kTypes[type] : nullptr;
}

// Reads the file front to back into `file_`. Nothing is allocated in proportion to a count before the count was checked
// against the bytes that are left.
class GgufFile::Parser {
 public:
  explicit Parser(GgufFile* file) : file_(*file) {}

  absl::Status Run() {
    uint64_t tensor_count = 0;
    uint64_t value_count = 0;
    QZO_RETURN_IF_ERROR(ReadHeader(&tensor_count, &value_count));
    for (uint64_t i = 0; i < value_count; ++i) QZO_RETURN_IF_ERROR(ReadKeyValue(i));
    QZO_RETURN_IF_ERROR(ReadAlignment());
    file_.tensor_infos_offset_ = at_;
    for (uint64_t i = 0; i < tensor_count; ++i) QZO_RETURN_IF_ERROR(ReadTensorInfo(i));
    QZO_RETURN_IF_ERROR(PlaceTensors());
    return CheckOverlap();
  }

 private:
  template <typename... Parts>
  absl::Status Error(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(file_.path_, ": ", parts...));
  }
  uint64_t Left() const { return file_.bytes_.size() - at_; }
  absl::Status Truncated(const std::string& what, uint64_t needed) const {
    return Error(what, " at byte ", at_, " needs ", needed, " bytes, but only ", Left(), " are left in the file");
  }

  absl::StatusOr<std::string_view> Take(uint64_t size, const std::string& what) {
    if (size > Left()) return Truncated(what, size);
    const std::string_view bytes = file_.bytes_.substr(at_, size);
    at_ += size;
    return bytes;
  }
  template <typename T>
  absl::StatusOr<T> Take(const std::string& what) {
    QZO_ASSIGN_OR_RETURN(const std::string_view bytes, Take(sizeof(T), what));
    return Load<T>(bytes.data());
  }
  absl::StatusOr<std::string_view> TakeString(const std::string& what) {
    QZO_ASSIGN_OR_RETURN(const uint64_t size, Take<uint64_t>(absl::StrCat("the length of ", what)));
    return Take(size, what);
  }
  absl::StatusOr<std::string_view> TakeName(const std::string& what, uint64_t max_bytes) {
    QZO_ASSIGN_OR_RETURN(const std::string_view name, TakeString(what));
    if (name.empty() || name.size() > max_bytes) {
      return Error(what, " has ", name.size(), " bytes, expected 1 to ", max_bytes);
    }
    if (base::FindInvalidUtf8(name) != std::string_view::npos)
      return Error(what, " is not valid UTF-8: ", Quoted(name));
    return name;
  }

  absl::Status ReadHeader(uint64_t* tensor_count, uint64_t* value_count) {
    QZO_ASSIGN_OR_RETURN(const std::string_view magic, Take(4, "the magic"));
    if (magic != "GGUF") return Error("not a GGUF file: it begins with ", Quoted(magic), ", expected 'GGUF'");
    QZO_ASSIGN_OR_RETURN(const uint32_t version, Take<uint32_t>("the version"));
    if (const uint32_t swapped = __builtin_bswap32(version); swapped >= 1 && swapped <= 3) {
      return Error("a big-endian GGUF file; only little-endian files are supported (gguf-convert-endian converts)");
    }
    if (version != 2 && version != 3) {
      return Error("GGUF version ", version,
                   "; supported are 2 and 3, convert the model again with a current converter");
    }
    file_.version_ = version;
    QZO_ASSIGN_OR_RETURN(*tensor_count, Take<uint64_t>("the number of tensors"));
    QZO_ASSIGN_OR_RETURN(*value_count, Take<uint64_t>("the number of keys"));
    if (*value_count > Left() / kMinKeyValueBytes) {
      return Error("the header says ", *value_count, " keys, more than the ", Left(), " bytes left can hold");
    }
    if (*tensor_count > Left() / kMinTensorInfoBytes) {
      return Error("the header says ", *tensor_count, " tensors, more than the ", Left(), " bytes left can hold");
    }
    return absl::OkStatus();
  }

  absl::Status ReadKeyValue(uint64_t index) {
    QZO_ASSIGN_OR_RETURN(const std::string_view key, TakeName(absl::StrCat("the name of key ", index), kMaxKeyBytes));
    const std::string what = absl::StrCat("key ", Quoted(key));
    Value value;
    QZO_ASSIGN_OR_RETURN(value.type, Take<uint32_t>(absl::StrCat("the type of ", what)));
    if (value.type == kString) {
      QZO_ASSIGN_OR_RETURN(value.bytes, TakeString(what));
    } else if (value.type == kArray) {
      QZO_RETURN_IF_ERROR(TakeArray(what, 1, &value));
    } else {
      QZO_RETURN_IF_ERROR(TakeScalars(what, value.type, 1, &value.bytes));
    }
    if (!file_.value_index_.emplace(std::string(key), file_.values_.size()).second)
      return Error(what, " appears twice");
    file_.values_.emplace_back(std::string(key), value);
    return absl::OkStatus();
  }

  absl::Status TakeScalars(const std::string& what, uint32_t type, uint64_t count, std::string_view* bytes) {
    if (type >= kTypeSizes.size() || kTypeSizes[type] == 0) return Error(what, " has the unknown value type ", type);
    if (count > Left() / kTypeSizes[type]) {
      return Error(what, " at byte ", at_, " says ", count, " values of ", TypeName(type), ", but only ", Left(),
                   " bytes are left in the file");
    }
    QZO_ASSIGN_OR_RETURN(*bytes, Take(count * kTypeSizes[type], what));
    if (type == kBool) {
      for (const char c : *bytes) {
        if (c != 0 && c != 1) return Error(what, " has the bool ", static_cast<unsigned char>(c), ", expected 0 or 1");
      }
    }
    return absl::OkStatus();
  }

  absl::Status TakeArray(const std::string& what, int depth, Value* value) {
    if (depth > kMaxArrayDepth) return Error(what, " nests arrays deeper than ", kMaxArrayDepth);
    QZO_ASSIGN_OR_RETURN(value->element_type, Take<uint32_t>(absl::StrCat("the element type of ", what)));
    QZO_ASSIGN_OR_RETURN(value->count, Take<uint64_t>(absl::StrCat("the length of ", what)));
    if (value->element_type != kString && value->element_type != kArray) {
      return TakeScalars(what, value->element_type, value->count, &value->bytes);
    }
    const uint64_t begin = at_;
    for (uint64_t i = 0; i < value->count; ++i) {
      if (value->element_type == kString) {
        QZO_RETURN_IF_ERROR(TakeString(what).status());
      } else {
        Value inner;
        QZO_RETURN_IF_ERROR(TakeArray(what, depth + 1, &inner));
      }
    }
    value->bytes = file_.bytes_.substr(begin, at_ - begin);
    return absl::OkStatus();
  }

  absl::Status ReadAlignment() {
    constexpr std::string_view kKey = "general.alignment";
    if (!file_.HasKey(kKey)) return absl::OkStatus();
    QZO_ASSIGN_OR_RETURN(alignment_, file_.GetUint(kKey));
    if (alignment_ == 0 || alignment_ % 8 != 0 || alignment_ > std::numeric_limits<uint32_t>::max()) {
      return Error("general.alignment is ", alignment_, ", expected a positive 32-bit multiple of 8");
    }
    return absl::OkStatus();
  }

  absl::Status ReadTensorInfo(uint64_t index) {
    GgufTensor tensor;
    QZO_ASSIGN_OR_RETURN(tensor.name, TakeName(absl::StrCat("the name of tensor ", index), kMaxNameBytes));
    const std::string what = absl::StrCat("tensor ", Quoted(tensor.name));
    QZO_ASSIGN_OR_RETURN(const uint32_t dim_count, Take<uint32_t>(absl::StrCat("the dimensions of ", what)));
    if (dim_count < 1 || dim_count > 4) return Error(what, " has ", dim_count, " dimensions, expected 1 to 4");
    int64_t values = 1;
    for (uint32_t d = 0; d < dim_count; ++d) {
      QZO_ASSIGN_OR_RETURN(const int64_t dim, Take<int64_t>(absl::StrCat("the dimensions of ", what)));
      if (dim <= 0 || __builtin_mul_overflow(values, dim, &values)) {
        return Error(what, ": dimension ", d, " is ", static_cast<uint64_t>(dim),
                     ", expected a positive number and a product within 63 bits");
      }
      tensor.dims.push_back(dim);
    }
    QZO_ASSIGN_OR_RETURN(const uint32_t type, Take<uint32_t>(absl::StrCat("the type of ", what)));
    const GgmlTypeInfo* info = FindGgmlType(type);
    if (info == nullptr) return Error(what, " has the unknown or removed type number ", type);
    tensor.type = static_cast<GgmlType>(type);
    if (tensor.dims[0] % info->block_values != 0) {
      return Error(what, ": its rows of ", tensor.dims[0], " values are no whole number of ", ToAbsl(info->name),
                   " blocks of ", info->block_values);
    }
    int64_t size = 0;
    if (__builtin_mul_overflow(values / info->block_values, info->block_bytes, &size)) {
      return Error(what, " of ", values, " values is too large");
    }
    sizes_.push_back(static_cast<uint64_t>(size));
    QZO_ASSIGN_OR_RETURN(tensor.file_offset, Take<uint64_t>(absl::StrCat("the offset of ", what)));
    if (!file_.tensor_index_.emplace(tensor.name, file_.tensors_.size()).second) return Error(what, " appears twice");
    file_.tensors_.push_back(std::move(tensor));
    return absl::OkStatus();
  }

  // Turns offsets within the data section, which begins at the next aligned byte, into offsets and bytes of the file.
  absl::Status PlaceTensors() {
    const uint64_t file_size = file_.bytes_.size();
    const uint64_t data_begin = (at_ + alignment_ - 1) / alignment_ * alignment_;
    const uint64_t data_size = data_begin > file_size ? 0 : file_size - data_begin;
    for (size_t i = 0; i < file_.tensors_.size(); ++i) {
      GgufTensor& tensor = file_.tensors_[i];
      const uint64_t offset = tensor.file_offset;
      if (offset % alignment_ != 0) {
        return Error("tensor ", Quoted(tensor.name), ": offset ", offset, " is not a multiple of the alignment ",
                     alignment_);
      }
      if (offset > data_size || sizes_[i] > data_size - offset) {
        return Error("tensor ", Quoted(tensor.name), ": ", sizes_[i], " bytes at offset ", offset,
                     " are not inside the ", data_size, " bytes of tensor data");
      }
      tensor.file_offset = data_begin + offset;
      tensor.bytes = file_.bytes_.substr(tensor.file_offset, sizes_[i]);
    }
    return absl::OkStatus();
  }

  absl::Status CheckOverlap() const {
    std::vector<const GgufTensor*> order;
    for (const GgufTensor& tensor : file_.tensors_) order.push_back(&tensor);
    std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->file_offset < b->file_offset; });
    for (size_t i = 1; i < order.size(); ++i) {
      if (order[i - 1]->file_offset + order[i - 1]->bytes.size() > order[i]->file_offset) {
        return Error("tensors ", Quoted(order[i - 1]->name), " and ", Quoted(order[i]->name), " overlap");
      }
    }
    return absl::OkStatus();
  }

  GgufFile& file_;
  uint64_t at_ = 0;
  uint64_t alignment_ = 32;
  std::vector<uint64_t> sizes_;  // of the tensors, in bytes
};

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Open(const std::string& path) {
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<base::MappedFile> mapping, base::MappedFile::Open(path));
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> file, Parse(std::move(mapping)));
  if (!file->complete_) QZO_RETURN_IF_ERROR(file->AddOtherParts(base::MappedFile::Open));
  return file;
}

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Parse(std::unique_ptr<base::MappedFile> mapping) {
  const std::string_view bytes = mapping->bytes();
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> file, ParseBytes(bytes, mapping->path()));
  file->mapping_ = std::move(mapping);
  return file;
}

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::ParseBytes(std::string_view bytes, std::string path_for_errors) {
  std::unique_ptr<GgufFile> file(new GgufFile);
  file->path_ = std::move(path_for_errors);
  file->bytes_ = bytes;
  QZO_RETURN_IF_ERROR(Parser(file.get()).Run());
  if (file->HasKey("split.count")) {
    QZO_ASSIGN_OR_RETURN(const uint64_t parts, file->GetUint("split.count"));
    file->complete_ = parts <= 1;
  }
  return file;
}

const GgufTensor* GgufFile::FindTensor(std::string_view name) const {
  const auto it = tensor_index_.find(ToAbsl(name));
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

const GgufFile::Value* GgufFile::Find(std::string_view key) const {
  const auto it = value_index_.find(ToAbsl(key));
  return it == value_index_.end() ? nullptr : &values_[it->second].second;
}

bool GgufFile::HasKey(std::string_view key) const { return Find(key) != nullptr; }

std::vector<std::string> GgufFile::Keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : values_) keys.push_back(key);
  return keys;
}

std::string GgufFile::TypeOf(const Value& value) {
  if (value.type != kArray) return TypeName(value.type);
  return absl::StrCat(value.count, " ", TypeName(value.element_type), value.count == 1 ? "" : "s");
}

absl::StatusOr<const GgufFile::Value*> GgufFile::Require(std::string_view key, bool array, bool (*accepts)(uint32_t),
                                                         std::string_view expected) const {
  const Value* value = Find(key);
  if (value == nullptr) return absl::NotFoundError(absl::StrCat(path_, ": key ", Quoted(key), " is missing"));
  if ((value->type == kArray) != array || !accepts(array ? value->element_type : value->type)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": key ", Quoted(key), " is ", TypeOf(*value), ", expected ", ToAbsl(expected)));
  }
  return value;
}

absl::StatusOr<uint64_t> GgufFile::GetUint(std::string_view key) const {
  QZO_ASSIGN_OR_RETURN(const Value* value, Require(key, false, IsInteger, "an integer"));
  if (value->type == kUint64) return Load<uint64_t>(value->bytes.data());
  const int64_t number = *LoadInt(value->type, value->bytes.data());
  if (number < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": key ", Quoted(key), " is ", number, ", expected 0 or more"));
  }
  return static_cast<uint64_t>(number);
}

absl::StatusOr<double> GgufFile::GetFloat(std::string_view key) const {
  QZO_ASSIGN_OR_RETURN(const Value* value, Require(key, false, IsFloat, "a float"));
  return LoadFloat(value->type, value->bytes.data());
}

absl::StatusOr<bool> GgufFile::GetBool(std::string_view key) const {
  QZO_ASSIGN_OR_RETURN(const Value* value, Require(
                                               key, false, [](uint32_t type) { return type == kBool; }, "a bool"));
  return value->bytes[0] != 0;
}

absl::StatusOr<std::string_view> GgufFile::GetString(std::string_view key) const {
  QZO_ASSIGN_OR_RETURN(const Value* value, Require(
                                               key, false, [](uint32_t type) { return type == kString; }, "a string"));
  return value->bytes;
}

absl::StatusOr<std::vector<std::string_view>> GgufFile::GetStrings(std::string_view key) const {
  QZO_ASSIGN_OR_RETURN(const Value* value,
                       Require(
                           key, true, [](uint32_t type) { return type == kString; }, "an array of strings"));
  std::vector<std::string_view> strings;
  strings.reserve(value->count);
  for (std::string_view rest = value->bytes; !rest.empty();) {
    const auto size = Load<uint64_t>(rest.data());
    strings.push_back(rest.substr(sizeof size, size));
    rest.remove_prefix(sizeof size + size);
  }
  return strings;
}

absl::StatusOr<std::vector<float>> GgufFile::GetFloats(std::string_view key) const {
  QZO_ASSIGN_OR_RETURN(const Value* value, Require(key, true, IsFloat, "an array of floats"));
  std::vector<float> floats(value->count);
  const uint64_t size = kTypeSizes[value->element_type];
  for (uint64_t i = 0; i < value->count; ++i) {
    floats[i] = static_cast<float>(LoadFloat(value->element_type, value->bytes.data() + i * size));
  }
  return floats;
}

absl::StatusOr<std::vector<int64_t>> GgufFile::GetInts(std::string_view key) const {
  QZO_ASSIGN_OR_RETURN(const Value* value, Require(key, true, IsInteger, "an array of integers"));
  std::vector<int64_t> ints(value->count);
  const uint64_t size = kTypeSizes[value->element_type];
  for (uint64_t i = 0; i < value->count; ++i) {
    const std::optional<int64_t> number = LoadInt(value->element_type, value->bytes.data() + i * size);
    if (!number.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ": element ", i, " of key ", Quoted(key), " is beyond 63 bits"));
    }
    ints[i] = *number;
  }
  return ints;
}

std::string GgufFile::Describe(std::string_view key) const {
  const Value* value = Find(key);
  if (value == nullptr) return "";
  if (value->type == kArray) return absl::StrCat("[", TypeOf(*value), "]");
  const char* at = value->bytes.data();
  if (value->type == kString) return Shown(value->bytes, 60);
  if (value->type == kBool) return at[0] != 0 ? "true" : "false";
  if (value->type == kUint64) return absl::StrCat(Load<uint64_t>(at));
  return IsFloat(value->type) ? absl::StrCat(LoadFloat(value->type, at)) : absl::StrCat(*LoadInt(value->type, at));
}

}  // namespace qzo::model
