#include "server/blob_store.h"

#include <cerrno>
#include <fstream>
#include <functional>
#include <limits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"

namespace qzo::server {
namespace {

constexpr char kIncoming[] = "incoming";  // no clash: the directories of blobs have two-digit names
constexpr size_t kPieceBytes = 1 << 20;

absl::Status CheckDigest(std::string_view digest) {
  if (base::IsSha256Hex(digest)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("digest '", absl::CHexEscape(base::ToAbsl(digest.substr(0, 80))),
                                                 "' is not a SHA-256 of 64 lower-case hexadecimal digits"));
}

absl::Status CheckExpected(std::string_view found, std::string_view expected) {
  if (expected.empty() || expected == found) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the content has SHA-256 ", base::ToAbsl(found), ", expected ", base::ToAbsl(expected)));
}

// Read, not mapped: the file is somebody else's and may shrink meanwhile, which kills a process that maps it.
absl::Status ForEachPiece(const std::string& path, const std::function<absl::Status(std::string_view)>& take) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return base::ErrnoStatus(errno, "open", path);
  std::string piece(kPieceBytes, '\0');
  while (in) {
    in.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    if (in.bad()) return base::ErrnoStatus(errno, "read", path);
    QZO_RETURN_IF_ERROR(take({piece.data(), static_cast<size_t>(in.gcount())}));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status BlobWriter::Append(std::string_view bytes) {
  if (bytes.size() > max_bytes_ - size_bytes_) {
    return absl::InvalidArgumentError(
        absl::StrCat("the content is larger than the limit of ", base::HumanBytes(max_bytes_)));
  }
  QZO_RETURN_IF_ERROR(file_->Append(bytes));
  size_bytes_ += bytes.size();
  sha256_.Update(bytes);
  return absl::OkStatus();
}

absl::StatusOr<std::string> BlobWriter::Finish(std::string_view expected_digest) {
  const std::unique_ptr<base::PendingFile> file = std::move(file_);  // whatever happens, nothing pending is left
  if (!expected_digest.empty()) QZO_RETURN_IF_ERROR(CheckDigest(expected_digest));
  std::string digest = sha256_.FinishHex();
  QZO_RETURN_IF_ERROR(CheckExpected(digest, expected_digest));
  if (store_->Exists(digest)) return digest;
  QZO_ASSIGN_OR_RETURN(const std::string path, store_->Destination(digest));
  QZO_RETURN_IF_ERROR(file->CommitAs(path));
  return digest;
}

absl::StatusOr<std::unique_ptr<BlobStore>> BlobStore::Open(std::string directory, base::FileSystem* fs) {
  const std::string incoming = absl::StrCat(directory, "/", kIncoming);
  QZO_RETURN_IF_ERROR(fs->CreateDirectories(incoming));
  QZO_ASSIGN_OR_RETURN(const std::vector<std::string> leftovers, fs->List(incoming));
  for (const std::string& name : leftovers) QZO_RETURN_IF_ERROR(fs->Remove(absl::StrCat(incoming, "/", name)));
  return std::unique_ptr<BlobStore>(new BlobStore(std::move(directory), fs));
}

std::unique_ptr<BlobStore> BlobStore::OpenForReading(std::string directory, base::FileSystem* fs) {
  return std::unique_ptr<BlobStore>(new BlobStore(std::move(directory), fs));
}

absl::StatusOr<std::unique_ptr<BlobWriter>> BlobStore::NewWriter(uint64_t max_bytes) {
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<base::PendingFile> file,
                       fs_->CreatePending(absl::StrCat(directory_, "/", kIncoming, "/", next_incoming_.fetch_add(1))));
  return std::unique_ptr<BlobWriter>(new BlobWriter(this, std::move(file), max_bytes));
}

absl::StatusOr<std::string> BlobStore::ImportFile(const std::string& path, std::string_view expected_digest) {
  if (!expected_digest.empty()) QZO_RETURN_IF_ERROR(CheckDigest(expected_digest));
  base::Sha256Stream sha256;
  QZO_RETURN_IF_ERROR(ForEachPiece(path, [&](std::string_view piece) {
    sha256.Update(piece);
    return absl::OkStatus();
  }));
  std::string digest = sha256.FinishHex();
  QZO_RETURN_IF_ERROR(CheckExpected(digest, expected_digest));
  if (Exists(digest)) return digest;
  QZO_ASSIGN_OR_RETURN(const std::string destination, Destination(digest));
  const absl::Status linked = fs_->Link(path, destination);
  if (linked.ok() || absl::IsAlreadyExists(linked)) return digest;
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<BlobWriter> writer, NewWriter(std::numeric_limits<uint64_t>::max()));
  QZO_RETURN_IF_ERROR(ForEachPiece(path, [&](std::string_view piece) { return writer->Append(piece); }));
  return writer->Finish(digest);
}

bool BlobStore::Exists(std::string_view digest) const {
  const absl::StatusOr<std::string> path = Path(digest);
  return path.ok() && fs_->Exists(*path);
}

absl::StatusOr<std::string> BlobStore::Path(std::string_view digest) const {
  QZO_RETURN_IF_ERROR(CheckDigest(digest));
  return absl::StrCat(directory_, "/", base::ToAbsl(digest.substr(0, 2)), "/", base::ToAbsl(digest.substr(2)));
}

absl::StatusOr<std::string> BlobStore::Destination(std::string_view digest) {
  QZO_ASSIGN_OR_RETURN(std::string path, Path(digest));
  QZO_RETURN_IF_ERROR(fs_->CreateDirectories(absl::StrCat(directory_, "/", base::ToAbsl(digest.substr(0, 2)))));
  return path;
}

absl::StatusOr<uint64_t> BlobStore::Size(std::string_view digest) const {
  QZO_ASSIGN_OR_RETURN(const std::string path, Path(digest));
  return fs_->Size(path);
}

absl::StatusOr<std::unique_ptr<base::MappedFile>> BlobStore::Open(std::string_view digest) const {
  QZO_ASSIGN_OR_RETURN(const std::string path, Path(digest));
  return base::MappedFile::Open(path);
}

absl::Status BlobStore::Remove(std::string_view digest) {
  QZO_ASSIGN_OR_RETURN(const std::string path, Path(digest));
  return fs_->Remove(path);
}

absl::StatusOr<std::vector<std::string>> BlobStore::List() const {
  std::vector<std::string> digests;
  QZO_ASSIGN_OR_RETURN(const std::vector<std::string> directories, fs_->List(directory_));
  for (const std::string& directory : directories) {
    if (directory.size() != 2) continue;
    QZO_ASSIGN_OR_RETURN(const std::vector<std::string> names, fs_->List(absl::StrCat(directory_, "/", directory)));
    for (const std::string& name : names) {
      if (std::string digest = directory + name; base::IsSha256Hex(digest)) digests.push_back(std::move(digest));
    }
  }
  return digests;
}

}  // namespace qzo::server
