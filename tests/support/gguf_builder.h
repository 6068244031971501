// Builds GGUF files in memory. Sound files by default; Raw, ClaimKeys and the like make the unsound ones.
#ifndef QZO_TESTS_SUPPORT_GGUF_BUILDER_H_
#define QZO_TESTS_SUPPORT_GGUF_BUILDER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/formats/gguf.h"

namespace qzo::testing {

template <typename T>
std::string LittleEndian(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}
inline std::string GgufString(std::string_view text) { return LittleEndian<uint64_t>(text.size()) + std::string(text); }

class GgufBuilder {
 public:
  GgufBuilder& Uint32(std::string_view key, uint32_t value) { return Raw(key, 4, LittleEndian(value)); }
  GgufBuilder& Int32(std::string_view key, int32_t value) { return Raw(key, 5, LittleEndian(value)); }
  GgufBuilder& Float(std::string_view key, float value) { return Raw(key, 6, LittleEndian(value)); }
  GgufBuilder& Bool(std::string_view key, bool value) { return Raw(key, 7, std::string(1, value ? '\1' : '\0')); }
  GgufBuilder& Uint64(std::string_view key, uint64_t value) { return Raw(key, 10, LittleEndian(value)); }
  GgufBuilder& String(std::string_view key, std::string_view value) { return Raw(key, 8, GgufString(value)); }
  GgufBuilder& Strings(std::string_view key, const std::vector<std::string>& values) {
    std::string bytes = ArrayHeader(8, values.size());
    for (const std::string& value : values) bytes += GgufString(value);
    return Raw(key, 9, bytes);
  }
  GgufBuilder& Floats(std::string_view key, const std::vector<float>& values) { return Array(key, 6, values); }
  GgufBuilder& Int32s(std::string_view key, const std::vector<int32_t>& values) { return Array(key, 5, values); }
  // `bytes` is the encoded value of the type with this number.
  GgufBuilder& Raw(std::string_view key, uint32_t type, std::string_view bytes) {
    values_ += GgufString(key) + LittleEndian(type) + std::string(bytes);
    ++key_count_;
    return *this;
  }
  static std::string ArrayHeader(uint32_t element_type, uint64_t count) {
    return LittleEndian(element_type) + LittleEndian(count);
  }

  // `dims` in ggml order (dims[0] contiguous). The offset is the next aligned one unless given.
  GgufBuilder& Tensor(std::string_view name, model::GgmlType type, const std::vector<uint64_t>& dims,
                      std::string_view data, std::optional<uint64_t> offset = std::nullopt) {
    Pad(&data_);
    infos_ += GgufString(name) + LittleEndian(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) infos_ += LittleEndian(dim);
    infos_ += LittleEndian(static_cast<uint32_t>(type)) + LittleEndian<uint64_t>(offset.value_or(data_.size()));
    data_ += data;
    ++tensor_count_;
    return *this;
  }

  // To be called before the first tensor; writes the key, too.
  GgufBuilder& Alignment(uint32_t alignment) {
    alignment_ = alignment;
    return Uint32("general.alignment", alignment);
  }
  GgufBuilder& Version(uint32_t version) {
    version_ = version;
    return *this;
  }
  GgufBuilder& ClaimKeys(uint64_t count) {
    key_count_ = count;
    return *this;
  }
  GgufBuilder& ClaimTensors(uint64_t count) {
    tensor_count_ = count;
    return *this;
  }

  std::string Finish() const {
    std::string file =
        "GGUF" + LittleEndian(version_) + LittleEndian(tensor_count_) + LittleEndian(key_count_) + values_ + infos_;
    if (!data_.empty()) Pad(&file);
    return file + data_;
  }

 private:
  template <typename T>
  GgufBuilder& Array(std::string_view key, uint32_t element_type, const std::vector<T>& values) {
    std::string bytes = ArrayHeader(element_type, values.size());
    for (const T& value : values) bytes += LittleEndian(value);
    return Raw(key, 9, bytes);
  }
  void Pad(std::string* bytes) const {
    bytes->resize((bytes->size() + alignment_ - 1) / alignment_ * alignment_, '\0');
  }

  uint32_t version_ = 3;
  uint32_t alignment_ = 32;
  uint64_t key_count_ = 0;
  uint64_t tensor_count_ = 0;
  std::string values_;
  std::string infos_;
  std::string data_;
};

}  // namespace qzo::testing

#endif  // QZO_TESTS_SUPPORT_GGUF_BUILDER_H_
