// Base models as resources. Thread-safe.
#ifndef QZO_SERVER_MODELS_H_
#define QZO_SERVER_MODELS_H_

#include <string>

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

// Makes a file on this machine the model projects/default/models/<file's stem, as an id>. ALREADY_EXISTS when another
// model has that name; the same one is no error.
absl::StatusOr<v1::Model> ImportModel(const Backend& backend, const std::string& path);

// Whether a model of the project is this file.
bool HoldsModel(Store* store, const std::string& project, const std::string& digest);

}  // namespace qzo::server

#endif  // QZO_SERVER_MODELS_H_
