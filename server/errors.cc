#include "server/errors.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "proto/grpc_status.h"

namespace qzo::server {
namespace {

using ::qzo::base::ToAbsl;

absl::Status OfResource(absl::Status status, std::string_view kind, std::string_view name, std::string_view reason) {
  const std::string full = absl::AsciiStrToUpper(absl::StrCat(ToAbsl(kind), "_", ToAbsl(reason)));
  return rpc::WithResource(rpc::WithReason(std::move(status), full), kind, name);
}

}  // namespace

absl::Status InvalidField(std::string_view field, std::string_view description) {
  return rpc::ViolationsFromLines(absl::InvalidArgumentError(absl::StrCat(ToAbsl(field), ": ", ToAbsl(description))),
                                  "INVALID_FIELD");
}

absl::Status NoSuch(std::string_view kind, std::string_view name) {
  return OfResource(absl::NotFoundError(absl::StrCat("no ", ToAbsl(kind), " ", ToAbsl(name))), kind, name, "not_found");
}

absl::Status Exists(std::string_view kind, std::string_view name) {
  return OfResource(absl::AlreadyExistsError(absl::StrCat(ToAbsl(name), " exists already")), kind, name, "exists");
}

absl::Status InUse(std::string_view kind, std::string_view name) {
  return OfResource(
      absl::FailedPreconditionError(absl::StrCat("cannot delete ", ToAbsl(name), ": a job that has not ended uses it")),
      kind, name, "in_use");
}

}  // namespace qzo::server
