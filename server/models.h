// Base models as resources. Thread-safe.
#ifndef QZO_SERVER_MODELS_H_
#define QZO_SERVER_MODELS_H_

#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "qzo/v1/model.pb.h"
#include "server/backend.h"

namespace qzo::server {

struct NewModel {
  std::string project;
  std::string id;  // "" = from the digest
  std::string display_name;
  std::string request_id;
};

// Registers the blob `digest` after opening it as a model. The caller holds a BlobKeeper::Hold since before the blob
// was there. Possible errors: INVALID_ARGUMENT naming the key or tensor; ALREADY_EXISTS, though not for the same model
// under an id made from its digest; those of the store.
absl::StatusOr<v1::Model> RegisterModel(const Backend& backend, const NewModel& model, const std::string& digest);

// Makes a file or directory on this machine (any path that ListModelFiles takes) the model
// projects/default/models/<its stem, as an id>. ALREADY_EXISTS when another model has that name; the same one is no
// error.
absl::StatusOr<v1::Model> ImportModel(const Backend& backend, const std::string& path);

// The digests of all files of the project's models, and of the lists of those in several.
absl::StatusOr<absl::flat_hash_set<std::string>> ModelDigests(Store* store, const std::string& project);

// The blobs that a model needs: its file, or the list and the files.
std::vector<std::string> BlobsOf(const v1::Model& model);

}  // namespace qzo::server

#endif  // QZO_SERVER_MODELS_H_
