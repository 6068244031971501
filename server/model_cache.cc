#include "server/model_cache.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"

namespace qzo::server {
namespace {

bool IsPlainFloat(model::GgmlType type) {
  return type == model::GgmlType::kF32 || type == model::GgmlType::kF16 || type == model::GgmlType::kBF16;
}

absl::StatusOr<std::shared_ptr<const LoadedModel>> Read(const BlobStore& blobs, const std::string& digest) {
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<base::MappedFile> mapping, blobs.Open(digest));
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<model::GgufFile> file, model::GgufFile::Parse(std::move(mapping)));
  auto loaded = std::make_shared<LoadedModel>();
  QZO_ASSIGN_OR_RETURN(loaded->info, model::ReadModelInfo(*file));
  QZO_ASSIGN_OR_RETURN(loaded->tokenizer, model::MakeTokenizer(*file));
  if (loaded->tokenizer->vocab_size() > loaded->info.vocabulary) {
    return absl::InvalidArgumentError(absl::StrCat("the tokenizer has ", loaded->tokenizer->vocab_size(),
                                                   " tokens, the embedding ", loaded->info.vocabulary));
  }
  const auto& trained = loaded->info.trained;
  loaded->trained_have_scales = std::none_of(trained.begin(), trained.end(), [&](const method::TensorShape& shape) {
    const model::GgufTensor* tensor = file->FindTensor(shape.name);
    return tensor != nullptr && IsPlainFloat(tensor->type);
  });
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
