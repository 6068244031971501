// Models in several files: NAME-00001-of-0000N.gguf and so on. The first has the keys; all have tensors.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/page_release.h"
#include "base/sha256sums.h"
#include "base/status_macros.h"
#include "model/formats/gguf.h"

namespace qzo::model {
namespace {

std::string PartSuffix(uint64_t index, uint64_t count) {
  return absl::StrFormat("-%05d-of-%05d.gguf", index + 1, count);
}

}  // namespace

absl::Status GgufFile::AddOtherParts(const OpenPart& open) {
  const auto error = [this](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", parts...));
  };
  QZO_ASSIGN_OR_RETURN(const uint64_t count, GetUint("split.count"));
  const std::string suffix = PartSuffix(0, count);
  if (!absl::EndsWith(path_, suffix)) {
    return error("a part of a split model; open the first part, whose name ends with ", suffix);
  }
  const std::string stem(absl::StripSuffix(path_, suffix));
  for (uint64_t index = 1; index < count; ++index) {
    const std::string path = stem + PartSuffix(index, count);
    QZO_ASSIGN_OR_RETURN(std::unique_ptr<base::MappedFile> mapping, open(path));
    QZO_ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> part, ParseBytes(mapping->bytes(), path));
    part->mapping_ = std::move(mapping);
    QZO_ASSIGN_OR_RETURN(const uint64_t own_index, part->GetUint("split.no"));
    QZO_ASSIGN_OR_RETURN(const uint64_t own_count, part->GetUint("split.count"));
    if (own_index != index || own_count != count) {
      return error("'", path, "' says that it is part ", own_index, " of ", own_count, ", counted from 0; expected ",
                   index, " of ", count);
    }
    for (const GgufTensor& tensor : part->tensors_) {
      if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) {
        return error("tensor '", tensor.name, "' of '", path, "' is in an earlier part, too");
      }
      tensors_.push_back(tensor);
    }
    other_parts_.push_back(std::move(part));
  }
  complete_ = true;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::OpenParts(
    std::map<std::string, std::unique_ptr<base::MappedFile>> parts) {
  if (parts.empty()) return absl::InvalidArgumentError("no parts of a split model");
  auto first = parts.extract(parts.begin());
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> file, ParseBytes(first.mapped()->bytes(), first.key()));
  file->mapping_ = std::move(first.mapped());
  if (!file->complete_) {
    QZO_RETURN_IF_ERROR(
        file->AddOtherParts([&](const std::string& name) -> absl::StatusOr<std::unique_ptr<base::MappedFile>> {
          auto part = parts.extract(name);
          if (part.empty()) return absl::InvalidArgumentError(absl::StrCat("part '", name, "' is missing"));
          return std::move(part.mapped());
        }));
  }
  if (parts.empty()) return file;
  return absl::InvalidArgumentError(
      absl::StrCat("'", parts.begin()->first, "' is no part of the model that begins with '", file->path_, "'"));
}

int64_t GgufFile::file_bytes() const {
  size_t bytes = bytes_.size();
  for (const std::unique_ptr<GgufFile>& part : other_parts_) bytes += part->bytes_.size();
  return static_cast<int64_t>(bytes);
}

std::string GgufFile::Digest() const {
  const auto sha256 = [](const GgufFile& part) {
    return part.mapping_ != nullptr ? base::Sha256HexOf(*part.mapping_) : base::Sha256Hex(part.bytes_);
  };
  if (other_parts_.empty()) return sha256(*this);
  const auto digest = [&](const GgufFile& part) {
    return base::FileDigest{.name = part.path_.substr(part.path_.rfind('/') + 1), .digest = sha256(part)};
  };
  std::vector<base::FileDigest> files = {digest(*this)};
  for (const std::unique_ptr<GgufFile>& part : other_parts_) files.push_back(digest(*part));
  return base::Sha256Hex(base::WriteSha256Sums(files));
}

}  // namespace qzo::model
