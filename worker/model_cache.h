// Models and datasets on this machine, by digest. Files live in a directory as <sha256>.gguf and <sha256>.jsonl, those
// of a model in several files and their list in <sha256>/, layers that had to be repacked beside it
// (model/graph/packed_layer.h), that several workers may share: they appear there whole (written aside, renamed), so
// that the worst of a race is a second download.
#ifndef QZO_WORKER_MODEL_CACHE_H_
#define QZO_WORKER_MODEL_CACHE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/fs.h"
#include "model/graph/model.h"
#include "worker/cache_limit.h"
#include "worker/transport.h"

namespace qzo::worker {

// Thread-compatible.
class ModelCache {
 public:
  // `fs` must outlive the cache; `directory` is made when first needed, and kept below `limit_bytes` where that is not
  // 0, but for models that are in use.
  ModelCache(std::string directory, base::FileSystem* fs, uint64_t limit_bytes = 0)
      : directory_(std::move(directory)), fs_(fs), limit_(directory_, limit_bytes) {}

  // Makes a model outside the directory known, where it lies: any path that OpenModelFiles takes. Returns its digest.
  absl::StatusOr<std::string> Register(const std::string& path);

  // The one Model object of these layers of this digest, fetched and loaded when it is not here. It stays mapped
  // without users, so that jobs may come back to it, until another one is loaded. Possible errors: those of
  // FetchVerified, Model::Load, FileSystem.
  absl::StatusOr<std::shared_ptr<const model::Model>> GetModel(const std::string& digest, BlobSource* source,
                                                               model::LayerRange layers = {});

  // Likewise the bytes of a dataset, read anew each time.
  absl::StatusOr<std::string> ReadDataset(const std::string& digest, BlobSource* source);

  // Bytes of models: files, or layers of them, mapped now, and layers repacked.
  int64_t mapped_bytes() const;

 private:
  // Path of a model's file or directory.
  absl::StatusOr<std::string> EnsureModel(const std::string& digest, BlobSource* source);
  // Makes sure that the file at `path` has this digest. It is verified when this process first uses it; a damaged one
  // is fetched again.
  absl::Status EnsureFile(const std::string& digest, const std::string& path, BlobSource* source);
  absl::Status Download(const std::string& digest, const std::string& path, BlobSource* source);
  // In the directory, at the cost of blobs that are neither mapped nor the one that is asked for.
  void MakeRoom(uint64_t bytes);

  const std::string directory_;
  base::FileSystem* const fs_;
  const CacheLimit limit_;
  std::string asked_;                              // digest of what is
  std::map<std::string, std::string> registered_;  // digest → path
  std::set<std::string> verified_;                 // paths
  std::map<std::pair<std::string, model::LayerRange>, std::shared_ptr<const model::Model>> models_;
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_MODEL_CACHE_H_
