// Writes GGUF files (docs/formats.md): keys and values, then tensors whose bytes are made when their turn comes, so
// that one is in memory at a time, or a part of one.
#ifndef QZO_MODEL_FORMATS_GGUF_WRITER_H_
#define QZO_MODEL_FORMATS_GGUF_WRITER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/fs.h"
#include "model/formats/gguf.h"

namespace qzo::model {

inline constexpr uint64_t kGgufAlignment = 32;  // of tensors, where a file does not say

// Keys and values as they are stored, in the order of adding. Thread-compatible.
class GgufValues {
 public:
  GgufValues& Uint32(std::string_view key, uint32_t value);
  GgufValues& Float(std::string_view key, float value);
  GgufValues& Bool(std::string_view key, bool value);
  GgufValues& String(std::string_view key, std::string_view value);
  GgufValues& Strings(std::string_view key, const std::vector<std::string>& values);
  GgufValues& Floats(std::string_view key, const std::vector<float>& values);
  GgufValues& Int32s(std::string_view key, const std::vector<int32_t>& values);
  GgufValues& Append(const GgufValues& other);

  // What a file of `tensors` tensors begins with, up to their list.
  std::string Header(uint64_t tensors) const;

 private:
  void Key(std::string_view key, uint32_t type);
  void ArrayKey(std::string_view key, uint32_t type, uint64_t count);

  uint64_t count_ = 0;
  std::string bytes_;
};

// Takes the next bytes of a tensor.
using GgufSink = std::function<absl::Status(std::string_view bytes)>;

struct TensorToWrite {
  std::string name;
  std::vector<int64_t> dims;  // ggml order
  GgmlType type = {};
  uint64_t size = 0;
  // Gives the sink exactly `size` bytes. Called once.
  std::function<absl::Status(const GgufSink& sink)> write;
};

// The bytes that `values` values of `type`, whole blocks of it, take.
uint64_t GgmlBytes(GgmlType type, uint64_t values);

struct GgufLayout {
  std::vector<size_t> order;  // of the tensors' data, by their place in the list; empty: as listed
  uint64_t alignment = kGgufAlignment;
  bool fill_end = true;  // fill the last tensor's block, too, as most writers do
};

// `header` is what comes before the list of tensors. Possible errors: INTERNAL for a tensor of another size than was
// said, those of writing, those of the sink.
absl::Status WriteGguf(std::string header, absl::Span<const TensorToWrite> tensors, const GgufLayout& layout,
                       const GgufSink& out);
// To a file: everything is durable before `destination` changes.
absl::Status WriteGgufFile(base::FileSystem* fs, std::string header, absl::Span<const TensorToWrite> tensors,
                           const GgufLayout& layout, const std::string& destination);

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_GGUF_WRITER_H_
