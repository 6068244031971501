// What the coordinator knows of base models: shapes and tokenizer, read from the blob once and kept for the models used
// last. Thread-safe; a model is read at most once at a time.
#ifndef QZO_SERVER_MODEL_CACHE_H_
#define QZO_SERVER_MODEL_CACHE_H_

#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "base/sha256sums.h"
#include "model/formats/model_info.h"
#include "model/tokenizer/tokenizer.h"
#include "server/blob_store.h"

namespace qzo::server {

struct LoadedModel {
  model::ModelInfo info;
  std::unique_ptr<model::Tokenizer> tokenizer;
  bool trained_have_scales = true;      // false when a trained tensor is stored as plain floats
  std::vector<base::FileDigest> files;  // of a model in several
};

class ModelCache {
 public:
  // `blobs` must outlive the cache.
  ModelCache(BlobStore* blobs, size_t capacity) : blobs_(blobs), capacity_(capacity) {}

  // The blob is a GGUF file or, of a model in several files, their list. NOT_FOUND when there is no such blob;
  // INVALID_ARGUMENT when it is not a model that we can train.
  absl::StatusOr<std::shared_ptr<const LoadedModel>> Load(const std::string& digest);

 private:
  BlobStore* const blobs_;
  const size_t capacity_;

  base::Mutex mu_;
  // The one used last comes first.
  std::list<std::pair<std::string, std::shared_ptr<const LoadedModel>>> entries_ ABSL_GUARDED_BY(mu_);
};

}  // namespace qzo::server

#endif  // QZO_SERVER_MODEL_CACHE_H_
