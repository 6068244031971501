// Content-addressed files: datasets, snapshots, small models. A blob is known by its SHA-256 (64 lower-case hexadecimal
// digits) and lies at DIRECTORY/ab/cdef…; blobs are never modified, and appear whole or not at all, durably.
// Thread-safe; a BlobWriter is thread-compatible and must not outlive its store. One process owns a directory at a
// time.
//
// Possible errors of every call: INVALID_ARGUMENT for a malformed digest, before any path is made of it; otherwise as
// base/fs.h, hence RESOURCE_EXHAUSTED with the path when the disk is full, which leaves no part of the blob.
#ifndef QZO_SERVER_BLOB_STORE_H_
#define QZO_SERVER_BLOB_STORE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"
#include "base/fs.h"

namespace qzo::server {

class BlobStore;

// One blob on its way in. Destroying it before Finish leaves nothing.
class BlobWriter {
 public:
  // INVALID_ARGUMENT beyond the writer's limit. After an error only destruction makes sense.
  absl::Status Append(std::string_view bytes);
  // Makes the blob visible and gives its digest. INVALID_ARGUMENT when `expected_digest` is not "" and is another one.
  // A blob that is there already is kept. Call once.
  absl::StatusOr<std::string> Finish(std::string_view expected_digest);
  uint64_t size_bytes() const { return size_bytes_; }

 private:
  friend class BlobStore;
  BlobWriter(BlobStore* store, std::unique_ptr<base::PendingFile> file, uint64_t max_bytes)
      : store_(store), file_(std::move(file)), max_bytes_(max_bytes) {}
  BlobStore* const store_;
  std::unique_ptr<base::PendingFile> file_;
  base::Sha256Stream sha256_;
  const uint64_t max_bytes_;
  uint64_t size_bytes_ = 0;
};

class BlobStore {
 public:
  // Makes the directory if need be and removes what an earlier process did not finish. `fs` must outlive the store.
  static absl::StatusOr<std::unique_ptr<BlobStore>> Open(std::string directory, base::FileSystem* fs);
  // Beside the process that owns the directory: changes nothing, and must not be asked to.
  static std::unique_ptr<BlobStore> OpenForReading(std::string directory, base::FileSystem* fs);

  absl::StatusOr<std::unique_ptr<BlobWriter>> NewWriter(uint64_t max_bytes);
  // Takes a file in, as a hard link where the file system allows it and as a copy elsewhere: a linked file must not be
  // modified in place afterwards. Digests as in BlobWriter::Finish.
  absl::StatusOr<std::string> ImportFile(const std::string& path, std::string_view expected_digest);

  // False for a malformed digest.
  bool Exists(std::string_view digest) const;
  // Where the blob lies or would lie.
  absl::StatusOr<std::string> Path(std::string_view digest) const;
  // NOT_FOUND.
  absl::StatusOr<uint64_t> Size(std::string_view digest) const;
  // NOT_FOUND. The mapping stays valid when the blob is removed.
  absl::StatusOr<std::unique_ptr<base::MappedFile>> Open(std::string_view digest) const;
  // Succeeds when it is gone already.
  absl::Status Remove(std::string_view digest);
  // Every digest, sorted.
  absl::StatusOr<std::vector<std::string>> List() const;

 private:
  friend class BlobWriter;
  BlobStore(std::string directory, base::FileSystem* fs) : directory_(std::move(directory)), fs_(fs) {}
  // The blob's path; its directory exists.
  absl::StatusOr<std::string> Destination(std::string_view digest);

  const std::string directory_;
  base::FileSystem* const fs_;
  std::atomic<uint64_t> next_incoming_{0};
};

}  // namespace qzo::server

#endif  // QZO_SERVER_BLOB_STORE_H_
