// The errors that services give on their own account, with their google.rpc details. Pure.
#ifndef QZO_SERVER_ERRORS_H_
#define QZO_SERVER_ERRORS_H_

#include <string_view>

#include "absl/status/status.h"

namespace qzo::server {

// INVALID_ARGUMENT with one field violation.
absl::Status InvalidField(std::string_view field, std::string_view description);
// NOT_FOUND, ALREADY_EXISTS and FAILED_PRECONDITION (in use) of a resource; `kind` as in ResourceKey. Reasons are
// JOB_NOT_FOUND, DATASET_EXISTS, MODEL_IN_USE and so on.
absl::Status NoSuch(std::string_view kind, std::string_view name);
absl::Status Exists(std::string_view kind, std::string_view name);
absl::Status InUse(std::string_view kind, std::string_view name);

}  // namespace qzo::server

#endif  // QZO_SERVER_ERRORS_H_
