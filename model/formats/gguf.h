// GGUF v2/v3 reader (docs/formats.md). The file is memory-mapped and never copied; every length, count and offset is
// checked against it, so a hostile file gives INVALID_ARGUMENT that names the path, the key or tensor, what was found
// and expected.
#ifndef QZO_MODEL_FORMATS_GGUF_H_
#define QZO_MODEL_FORMATS_GGUF_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/fs.h"

namespace qzo::model {

// ggml's type numbers, as stored.
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
};

struct GgmlTypeInfo {
  std::string_view name;
  int64_t block_values;
  int64_t block_bytes;
  int64_t group_values;  // that share one stored scale; 1 for plain floats, which have none
};
// nullptr for unknown and removed type numbers.
const GgmlTypeInfo* FindGgmlType(uint32_t type);

struct GgufTensor {
  std::string name;
  GgmlType type;
  std::vector<int64_t> dims;  // ggml order: dims[0] is contiguous; a linear weight [N, K] has dims {K, N}
  uint64_t file_offset;       // of its first byte, from the start of the file, or of its part of a split model
  std::string_view bytes;     // inside the mapping
};

// Thread-safe after construction.
class GgufFile {
 public:
  // Of a split model the first part; the others are found beside it. Possible errors: also those of MappedFile::Open.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Open(const std::string& path);
  // The parts of a split model by their names, wherever they lie; files that are no parts of it are refused.
  static absl::StatusOr<std::unique_ptr<GgufFile>> OpenParts(
      std::map<std::string, std::unique_ptr<base::MappedFile>> parts);
  // `mapping` stays alive with the object.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Parse(std::unique_ptr<base::MappedFile> mapping);
  // For tests and fuzzing; `bytes` must outlive the object.
  static absl::StatusOr<std::unique_ptr<GgufFile>> ParseBytes(std::string_view bytes, std::string path_for_errors);

  const std::string& path() const { return path_; }
  std::string_view bytes() const { return bytes_; }                      // of a split model, those of the first part
  uint64_t tensor_infos_offset() const { return tensor_infos_offset_; }  // where keys and values end
  // Whether all tensors are here: false for a part of a split model that was not opened by its path.
  bool complete() const { return complete_; }
  absl::Span<const std::unique_ptr<GgufFile>> other_parts() const { return other_parts_; }
  int64_t file_bytes() const;  // of all parts
  // SHA-256 of the file; of a split model, of the lines that `sha256sum` prints for its parts. Reads all of it.
  std::string Digest() const;
  uint32_t version() const { return version_; }
  absl::Span<const GgufTensor> tensors() const { return tensors_; }
  // nullptr when absent.
  const GgufTensor* FindTensor(std::string_view name) const;

  bool HasKey(std::string_view key) const;
  std::vector<std::string> Keys() const;  // in file order
  // Any integer type widens, float to double. NOT_FOUND when absent, INVALID_ARGUMENT when of another type or out of
  // range.
  absl::StatusOr<uint64_t> GetUint(std::string_view key) const;
  absl::StatusOr<double> GetFloat(std::string_view key) const;
  absl::StatusOr<bool> GetBool(std::string_view key) const;
  absl::StatusOr<std::string_view> GetString(std::string_view key) const;  // views point into the mapping
  absl::StatusOr<std::vector<std::string_view>> GetStrings(std::string_view key) const;
  absl::StatusOr<std::vector<float>> GetFloats(std::string_view key) const;
  absl::StatusOr<std::vector<int64_t>> GetInts(std::string_view key) const;
  // A short rendering for people ("llama", "[49152 strings]"), "" when absent.
  std::string Describe(std::string_view key) const;

 private:
  struct Value {
    uint32_t type = 0;
    uint32_t element_type = 0;  // arrays only
    uint64_t count = 0;         // arrays only
    std::string_view bytes;     // the encoded value (scalars, string contents, array elements)
  };
  class Parser;
  using OpenPart = std::function<absl::StatusOr<std::unique_ptr<base::MappedFile>>(const std::string& path)>;
  GgufFile() = default;
  absl::Status AddOtherParts(const OpenPart& open);
  const Value* Find(std::string_view key) const;
  // The value of `key` if `accepts` says yes to its type (of an array: to the type of its elements).
  absl::StatusOr<const Value*> Require(std::string_view key, bool array, bool (*accepts)(uint32_t),
                                       std::string_view expected) const;
  static std::string TypeOf(const Value& value);

  std::string path_;
  std::unique_ptr<base::MappedFile> mapping_;
  std::string_view bytes_;
  uint32_t version_ = 0;
  uint64_t tensor_infos_offset_ = 0;
  bool complete_ = true;
  std::vector<std::unique_ptr<GgufFile>> other_parts_;
  std::vector<std::pair<std::string, Value>> values_;
  absl::flat_hash_map<std::string, size_t> value_index_;
  std::vector<GgufTensor> tensors_;
  absl::flat_hash_map<std::string, size_t> tensor_index_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_GGUF_H_
