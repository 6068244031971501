// safetensors reader (docs/formats.md). Tensors are views into bytes that the caller keeps mapped; every length and
// offset is checked against them, so a hostile file gives INVALID_ARGUMENT that names the path, the tensor, what was
// found and expected.
#ifndef QZO_MODEL_FORMATS_SAFETENSORS_H_
#define QZO_MODEL_FORMATS_SAFETENSORS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace qzo::model {

enum class SafetensorsType : uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E4M3,
  kF8E5M2,
  kU16,
  kI16,
  kF16,
  kBF16,
  kU32,
  kI32,
  kF32,
  kU64,
  kI64,
  kF64
};
std::string_view SafetensorsTypeName(SafetensorsType type);
int64_t SafetensorsTypeBytes(SafetensorsType type);

struct SafetensorsTensor {
  std::string name;
  SafetensorsType type;
  std::vector<int64_t> dims;  // row-major: the last is contiguous; empty for a single number
  std::string_view bytes;     // exactly the dims' product of values
};

// Tensors in name order. They fill what follows the header without gap or overlap, as the format demands.
absl::StatusOr<std::vector<SafetensorsTensor>> ParseSafetensors(std::string_view bytes, std::string_view path);

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_SAFETENSORS_H_
