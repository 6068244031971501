// Builds safetensors files in memory.
#ifndef QZO_TESTS_SUPPORT_SAFETENSORS_BUILDER_H_
#define QZO_TESTS_SUPPORT_SAFETENSORS_BUILDER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace qzo::testing {

// `header` behind its length, then `data`.
inline std::string SafetensorsBytes(std::string_view header, std::string_view data) {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof size) + std::string(header) + std::string(data);
}

class SafetensorsBuilder {
 public:
  SafetensorsBuilder& Tensor(const std::string& name, const std::string& dtype, const std::vector<int64_t>& dims,
                             std::string_view bytes) {
    absl::StrAppend(&entries_, entries_.empty() ? "" : ",", "\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":[",
                    absl::StrJoin(dims, ","), "],\"data_offsets\":[", data_.size(), ",", data_.size() + bytes.size(),
                    "]}");
    data_ += bytes;
    return *this;
  }
  template <typename T>
  SafetensorsBuilder& Values(const std::string& name, const std::string& dtype, const std::vector<int64_t>& dims,
                             const std::vector<T>& values) {
    return Tensor(name, dtype, dims, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
  }
  std::string Finish() const { return SafetensorsBytes("{" + entries_ + "}", data_); }

 private:
  std::string entries_;
  std::string data_;
};

}  // namespace qzo::testing

#endif  // QZO_TESTS_SUPPORT_SAFETENSORS_BUILDER_H_
