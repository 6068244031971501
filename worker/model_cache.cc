#include "worker/model_cache.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/page_release.h"
#include "base/sha256sums.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/formats/model_files.h"

namespace qzo::worker {
namespace {

constexpr uint64_t kRoomBytes = uint64_t{64} << 20;  // that is made for the next part of a transfer

absl::Status CheckDigest(const std::string& digest) {
  if (base::IsSha256Hex(digest)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("blob '", digest, "': expected a SHA-256 digest, 64 hexadecimal digits"));
}

absl::Status CheckReceived(const std::string& digest, const std::string& received) {
  if (received == digest) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("blob ", digest, ": received bytes with digest ", received));
}

absl::StatusOr<std::string> DigestOfFile(const std::string& path) {
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<base::MappedFile> file, base::MappedFile::Open(path));
  return base::Sha256HexOf(*file);
}

}  // namespace

absl::StatusOr<std::string> FetchVerified(BlobSource* source, const std::string& digest) {
  QZO_RETURN_IF_ERROR(CheckDigest(digest));
  std::string bytes;
  QZO_RETURN_IF_ERROR(source->Fetch(digest, [&bytes](std::string_view piece) {
    bytes.append(piece);
    return absl::OkStatus();
  }));
  QZO_RETURN_IF_ERROR(CheckReceived(digest, base::Sha256Hex(bytes)));
  return bytes;
}

absl::StatusOr<std::string> ModelCache::Register(const std::string& path) {
  QZO_ASSIGN_OR_RETURN(const model::ModelFiles files, model::OpenModelFiles(path));
  std::string digest = files.Digest();
  registered_[digest] = path;
  return digest;
}

absl::StatusOr<std::shared_ptr<const model::Model>> ModelCache::GetModel(const std::string& digest, BlobSource* source,
                                                                         model::LayerRange layers) {
  if (const auto found = models_.find({digest, layers}); found != models_.end()) return found->second;
  std::erase_if(models_, [](const auto& entry) { return entry.second.use_count() == 1; });
  QZO_ASSIGN_OR_RETURN(const std::string path, EnsureModel(digest, source));
  const model::PackedLayers packed(fs_, directory_, digest, [this](uint64_t bytes) { MakeRoom(bytes); });
  QZO_ASSIGN_OR_RETURN(std::shared_ptr<const model::Model> model, model::Model::Load(path, layers, &packed));
  models_[{digest, layers}] = model;
  return model;
}

absl::StatusOr<std::string> ModelCache::ReadDataset(const std::string& digest, BlobSource* source) {
  QZO_RETURN_IF_ERROR(CheckDigest(digest));
  asked_ = digest;
  limit_.Use(digest);
  const std::string path = absl::StrCat(directory_, "/", digest, ".jsonl");
  QZO_RETURN_IF_ERROR(EnsureFile(digest, path, source));
  return fs_->Read(path);
}

int64_t ModelCache::mapped_bytes() const {
  int64_t bytes = 0;
  for (const auto& [key, model] : models_) bytes += model->resident_bytes();
  return bytes;
}

absl::StatusOr<std::string> ModelCache::EnsureModel(const std::string& digest, BlobSource* source) {
  QZO_RETURN_IF_ERROR(CheckDigest(digest));
  asked_ = digest;
  limit_.Use(digest);
  if (const auto found = registered_.find(digest); found != registered_.end() && fs_->Exists(found->second)) {
    return found->second;
  }
  std::string directory = absl::StrCat(directory_, "/", digest);
  const std::string file = directory + ".gguf", list = absl::StrCat(directory, "/", base::kSha256SumsName);
  if (!fs_->Exists(list)) {
    QZO_RETURN_IF_ERROR(EnsureFile(digest, file, source));
    QZO_ASSIGN_OR_RETURN(const std::unique_ptr<base::MappedFile> fetched, base::MappedFile::Open(file));
    if (!base::IsSha256Sums(fetched->bytes())) return file;
    QZO_RETURN_IF_ERROR(fs_->CreateDirectories(directory));
    QZO_RETURN_IF_ERROR(fs_->WriteDurably(list, fetched->bytes()));
    QZO_RETURN_IF_ERROR(fs_->Remove(file));
  }
  QZO_RETURN_IF_ERROR(EnsureFile(digest, list, source));
  QZO_ASSIGN_OR_RETURN(const std::string text, fs_->Read(list));
  QZO_ASSIGN_OR_RETURN(const std::vector<base::FileDigest> files, base::ParseSha256Sums(text));
  for (const base::FileDigest& listed : files) {
    QZO_RETURN_IF_ERROR(EnsureFile(listed.digest, absl::StrCat(directory, "/", listed.name), source));
  }
  return directory;
}

absl::Status ModelCache::EnsureFile(const std::string& digest, const std::string& path, BlobSource* source) {
  if (fs_->Exists(path)) {
    if (verified_.contains(path)) return absl::OkStatus();
    QZO_ASSIGN_OR_RETURN(const std::string found, DigestOfFile(path));
    if (found == digest) {
      verified_.insert(path);
      return absl::OkStatus();
    }
    spdlog::warn("{}: damaged, its bytes have digest {}; fetching it again", path, found);
  }
  QZO_RETURN_IF_ERROR(Download(digest, path, source));
  verified_.insert(path);
  return absl::OkStatus();
}

void ModelCache::MakeRoom(uint64_t bytes) {
  std::set<std::string> kept = {asked_};
  for (const auto& [key, model] : models_) kept.insert(key.first);
  limit_.MakeRoom(bytes, kept);
}

absl::Status ModelCache::Download(const std::string& digest, const std::string& path, BlobSource* source) {
  QZO_RETURN_IF_ERROR(fs_->CreateDirectories(path.substr(0, path.rfind('/'))));
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<base::PendingFile> file, fs_->CreatePending(path));
  base::Sha256Stream received;
  uint64_t bytes = 0, room = 0;
  QZO_RETURN_IF_ERROR(source->Fetch(digest, [&](std::string_view piece) {
    received.Update(piece);
    bytes += piece.size();
    if (bytes > room) {  // how many will come is not known
      const uint64_t more = std::max(kRoomBytes, uint64_t{piece.size()});
      MakeRoom(more);
      room = bytes - piece.size() + more;
    }
    return file->Append(piece);
  }));
  QZO_RETURN_IF_ERROR(CheckReceived(digest, received.FinishHex()));
  QZO_RETURN_IF_ERROR(file->Commit());
  spdlog::info("fetched {} ({})", path, base::HumanBytes(bytes));
  return absl::OkStatus();
}

}  // namespace qzo::worker
