// The storage types that --type names.
#ifndef QZO_CLIENT_CLI_GGML_TYPE_H_
#define QZO_CLIENT_CLI_GGML_TYPE_H_

#include <optional>
#include <string>

#include "model/formats/gguf.h"

namespace qzo::client {

inline std::optional<model::GgmlType> TypeNamed(const std::string& name) {
  if (name == "f16") return model::GgmlType::kF16;
  if (name == "q8_0") return model::GgmlType::kQ8_0;
  if (name == "q4_0") return model::GgmlType::kQ4_0;
  if (name == "q4_1") return model::GgmlType::kQ4_1;
  return std::nullopt;
}

}  // namespace qzo::client

#endif  // QZO_CLIENT_CLI_GGML_TYPE_H_
