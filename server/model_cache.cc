#include "server/model_cache.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "model/formats/checkpoint_info.h"
#include "model/formats/model_files.h"

namespace qzo::server {
namespace {

bool IsPlainFloat(model::GgmlType type) {
  return type == model::GgmlType::kF32 || type == model::GgmlType::kF16 || type == model::GgmlType::kBF16;
}

absl::Status ReadGguf(const model::GgufFile& file, LoadedModel* loaded) {
  QZO_ASSIGN_OR_RETURN(loaded->info, model::ReadModelInfo(file));
  QZO_ASSIGN_OR_RETURN(loaded->tokenizer, model::MakeTokenizer(file));
  const auto& trained = loaded->info.trained;
  loaded->trained_have_scales = std::none_of(trained.begin(), trained.end(), [&](const method::TensorShape& shape) {
    const model::GgufTensor* tensor = file.FindTensor(shape.name);
    return tensor != nullptr && IsPlainFloat(tensor->type);
  });
  return absl::OkStatus();
}

absl::Status ReadCheckpoint(const model::Checkpoint& checkpoint, LoadedModel* loaded) {
  QZO_ASSIGN_OR_RETURN(model::CheckpointInfo read, model::ReadCheckpointInfo(checkpoint));
  loaded->info = std::move(read.info);
  QZO_ASSIGN_OR_RETURN(loaded->tokenizer, model::MakeTokenizer(checkpoint));
  loaded->trained_have_scales = std::none_of(
      read.linears.begin(), read.linears.end(),
      [](const model::CheckpointLinear& linear) { return linear.storage == model::LinearStorage::kPlain; });
  return absl::OkStatus();
}

absl::Status ReadFiles(const BlobStore& blobs, std::string_view list, LoadedModel* loaded) {
  QZO_ASSIGN_OR_RETURN(loaded->files, base::ParseSha256Sums(list));
  std::map<std::string, std::unique_ptr<base::MappedFile>> files;
  for (const base::FileDigest& file : loaded->files) {
    QZO_ASSIGN_OR_RETURN(files[file.name], blobs.Open(file.digest));
  }
  QZO_ASSIGN_OR_RETURN(const model::ModelFiles opened, model::OpenListedFiles(std::move(files), "the model"));
  return opened.gguf != nullptr ? ReadGguf(*opened.gguf, loaded) : ReadCheckpoint(*opened.checkpoint, loaded);
}

absl::StatusOr<std::shared_ptr<const LoadedModel>> Read(const BlobStore& blobs, const std::string& digest) {
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<base::MappedFile> mapping, blobs.Open(digest));
  auto loaded = std::make_shared<LoadedModel>();
  if (base::IsSha256Sums(mapping->bytes())) {
    QZO_RETURN_IF_ERROR(ReadFiles(blobs, mapping->bytes(), loaded.get()));
  } else {
    QZO_ASSIGN_OR_RETURN(const std::unique_ptr<model::GgufFile> file, model::GgufFile::Parse(std::move(mapping)));
    QZO_RETURN_IF_ERROR(ReadGguf(*file, loaded.get()));
  }
  if (loaded->tokenizer->vocab_size() > loaded->info.vocabulary) {
    return absl::InvalidArgumentError(absl::StrCat("the tokenizer has ", loaded->tokenizer->vocab_size(),
                                                   " tokens, the embedding ", loaded->info.vocabulary));
  }
  return loaded;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const LoadedModel>> ModelCache::Load(const std::string& digest) {
  base::MutexLock lock(&mu_);
  const auto at =
      std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) { return entry.first == digest; });
  if (at != entries_.end()) {
    entries_.splice(entries_.begin(), entries_, at);
    return entries_.front().second;
  }
  absl::StatusOr<std::shared_ptr<const LoadedModel>> read = Read(*blobs_, digest);
  if (!read.ok()) {
    // Where the blob lies is the server's affair: whoever sent the file knows it by another name.
    const std::string path = blobs_->Path(digest).value_or("");
    return absl::Status(read.status().code(), absl::StrReplaceAll(read.status().message(), {{path, "the model file"}}));
  }
  std::shared_ptr<const LoadedModel> loaded = *std::move(read);
  entries_.emplace_front(digest, loaded);
  if (entries_.size() > capacity_) entries_.pop_back();
  return loaded;
}

}  // namespace qzo::server
