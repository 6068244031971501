// The settings of a GGUF file's architecture, with errors that name the file and the key.
#ifndef QZO_MODEL_FORMATS_GGUF_KEYS_H_
#define QZO_MODEL_FORMATS_GGUF_KEYS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "model/formats/gguf.h"

namespace qzo::model {

// Of `file`, which must outlive the object. Names are those after "<architecture>.".
class GgufKeys {
 public:
  GgufKeys(const GgufFile& file, std::string_view architecture)
      : file_(file), prefix_(std::string(architecture) + ".") {}

  template <typename... Parts>
  absl::Status Error(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(file_.path(), ": ", parts...));
  }
  std::string Key(std::string_view name) const { return prefix_ + std::string(name); }
  bool Has(std::string_view name) const { return file_.HasKey(Key(name)); }
  bool HasTensor(std::string_view name) const { return file_.FindTensor(name) != nullptr; }

  absl::StatusOr<int32_t> Dimension(std::string_view name, int32_t max) const;
  absl::StatusOr<int32_t> Dimension(std::string_view name, int32_t max, int32_t otherwise) const;
  absl::StatusOr<double> Number(std::string_view name) const;
  absl::StatusOr<float> Positive(std::string_view name) const;
  absl::StatusOr<float> Positive(std::string_view name, float otherwise) const;
  absl::StatusOr<std::string> Text(std::string_view name, std::string_view otherwise) const;
  // Refuses a number other than `expected`: the model would be another one.
  absl::Status Only(std::string_view name, double expected) const;

 private:
  const GgufFile& file_;
  const std::string prefix_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_GGUF_KEYS_H_
