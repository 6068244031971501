#include "model/formats/gguf_patch.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/formats/gguf_writer.h"

namespace qzo::model {
namespace {

class Patch {
 public:
  Patch(const GgufFile& file, const std::map<std::string, TensorReplacement>& replacements,
        const std::map<std::string, GgmlType>& types)
      : file_(file), replacements_(replacements), types_(types) {}

  absl::Status Prepare() {
    if (!file_.complete() || !file_.other_parts().empty()) {
      return Error("a split model; put its parts together with gguf-split --merge first");
    }
    if (file_.HasKey("general.alignment")) {
      QZO_ASSIGN_OR_RETURN(alignment_, file_.GetUint("general.alignment"));
    }
    for (const auto& [name, replacement] : replacements_) {
      if (file_.FindTensor(name) != nullptr) continue;
      std::vector<std::string> names;
      for (const GgufTensor& other : file_.tensors()) names.push_back(other.name);
      return Error("no tensor '", name, "' to replace", base::DidYouMean(name, names));
    }
    for (const GgufTensor& tensor : file_.tensors()) {
      QZO_ASSIGN_OR_RETURN(TensorToWrite written, Written(tensor));
      tensors_.push_back(std::move(written));
    }
    return absl::OkStatus();
  }

  absl::Status Write(base::FileSystem* fs, const std::string& destination) const {
    GgufLayout layout{.order = std::vector<size_t>(tensors_.size()), .alignment = alignment_, .fill_end = false};
    std::vector<size_t>& order = layout.order;
    std::iota(order.begin(), order.end(), size_t{0});
    const absl::Span<const GgufTensor> before = file_.tensors();
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return before[a].file_offset < before[b].file_offset; });
    const GgufTensor* last = order.empty() ? nullptr : &before[order.back()];
    layout.fill_end = last != nullptr && last->file_offset + last->bytes.size() != file_.bytes().size();
    return WriteGgufFile(fs, std::string(file_.bytes().substr(0, file_.tensor_infos_offset())), tensors_, layout,
                         destination);
  }

 private:
  template <typename... Parts>
  absl::Status Error(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(file_.path(), ": ", parts...));
  }

  absl::StatusOr<TensorToWrite> Written(const GgufTensor& tensor) const {
    TensorToWrite written{
        .name = tensor.name, .dims = tensor.dims, .type = tensor.type, .size = tensor.bytes.size(), .write = {}};
    const auto replacement = replacements_.find(tensor.name);
    if (const auto type = types_.find(tensor.name); type != types_.end()) {
      QZO_RETURN_IF_ERROR(SetType(type->second, &written));
    }
    written.write = [this, &tensor, size = written.size,
                     replace = replacement == replacements_.end() ? nullptr : &replacement->second](
                        const GgufSink& sink) -> absl::Status {
      if (replace == nullptr) return sink(tensor.bytes);
      QZO_ASSIGN_OR_RETURN(const std::string bytes, (*replace)(tensor));
      if (bytes.size() == size) return sink(bytes);
      return Error("the replacement of tensor '", tensor.name, "' has ", bytes.size(), " bytes, expected ", size);
    };
    return written;
  }

  absl::Status SetType(GgmlType type, TensorToWrite* written) const {
    const GgmlTypeInfo& before = *FindGgmlType(static_cast<uint32_t>(written->type));
    const GgmlTypeInfo& after = *FindGgmlType(static_cast<uint32_t>(type));
    if (written->dims[0] % after.block_values != 0) {
      return Error("the rows of ", written->dims[0], " values of tensor '", written->name, "' are no whole ",
                   base::ToAbsl(after.name), " blocks of ", after.block_values);
    }
    const uint64_t values =
        written->size / static_cast<uint64_t>(before.block_bytes) * static_cast<uint64_t>(before.block_values);
    written->type = type;
    written->size = GgmlBytes(type, values);
    return absl::OkStatus();
  }

  const GgufFile& file_;
  const std::map<std::string, TensorReplacement>& replacements_;
  const std::map<std::string, GgmlType>& types_;
  uint64_t alignment_ = kGgufAlignment;
  std::vector<TensorToWrite> tensors_;  // in the order of the file's own list
};

}  // namespace

absl::Status WriteGgufWithReplacedTensors(base::FileSystem* fs, const GgufFile& file,
                                          const std::map<std::string, TensorReplacement>& replacements,
                                          const std::map<std::string, GgmlType>& types,
                                          const std::string& destination) {
  Patch patch(file, replacements, types);
  QZO_RETURN_IF_ERROR(patch.Prepare());
  return patch.Write(fs, destination);
}

}  // namespace qzo::model
