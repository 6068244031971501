#include "model/formats/gguf_patch.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"

namespace qzo::model {
namespace {

using Patch = std::pair<const GgufTensor*, const TensorReplacement*>;

absl::StatusOr<std::vector<Patch>> InFileOrder(const GgufFile& file,
                                               const std::map<std::string, TensorReplacement>& replacements) {
  std::vector<Patch> patches;
  for (const auto& [name, replacement] : replacements) {
    const GgufTensor* tensor = file.FindTensor(name);
    if (tensor == nullptr) {
      std::vector<std::string> names;
      for (const GgufTensor& other : file.tensors()) names.push_back(other.name);
      return absl::InvalidArgumentError(
          absl::StrCat(file.path(), ": no tensor '", name, "' to replace", base::DidYouMean(name, names)));
    }
    patches.emplace_back(tensor, &replacement);
  }
  std::sort(patches.begin(), patches.end(),
            [](const Patch& a, const Patch& b) { return a.first->file_offset < b.first->file_offset; });
  return patches;
}

}  // namespace

absl::Status WriteGgufWithReplacedTensors(base::FileSystem* fs, const GgufFile& file,
                                          const std::map<std::string, TensorReplacement>& replacements,
                                          const std::string& destination) {
  if (!file.complete() || !file.other_parts().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": a split model; put its parts together with gguf-split --merge first"));
  }
  QZO_ASSIGN_OR_RETURN(const std::vector<Patch> patches, InFileOrder(file, replacements));
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<base::PendingFile> out, fs->CreatePending(destination));
  uint64_t copied = 0;
  for (const auto& [tensor, replacement] : patches) {
    QZO_RETURN_IF_ERROR(out->Append(file.bytes().substr(copied, tensor->file_offset - copied)));
    QZO_ASSIGN_OR_RETURN(const std::string bytes, (*replacement)(*tensor));
    if (bytes.size() != tensor->bytes.size()) {
      return absl::InvalidArgumentError(absl::StrCat(file.path(), ": the replacement of tensor '", tensor->name,
                                                     "' has ", bytes.size(), " bytes, expected ",
                                                     tensor->bytes.size()));
    }
    QZO_RETURN_IF_ERROR(out->Append(bytes));
    copied = tensor->file_offset + bytes.size();
  }
  QZO_RETURN_IF_ERROR(out->Append(file.bytes().substr(copied)));
  return out->Commit();
}

}  // namespace qzo::model
