#include "client/cli/exit_code.h"

#include "absl/strings/str_cat.h"
#include "proto/grpc_status.h"

namespace qzo::client {

int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return kUsage;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kUnreachable;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return kForbidden;
    case absl::StatusCode::kNotFound:
      return kNotFound;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
      return kConflict;
    case absl::StatusCode::kResourceExhausted:
      return kNoCapacity;
    case absl::StatusCode::kCancelled:
      return kDetached;
    default:
      return kFailed;
  }
}

int ExitCodeOf(v1::FineTuningJob::State state) {
  switch (state) {
    case v1::FineTuningJob::SUCCEEDED:
      return kOk;
    case v1::FineTuningJob::CANCELLED:
      return kCancelled;
    default:
      return kFailed;
  }
}

std::string ErrorText(const absl::Status& status, const rpc::Endpoint& endpoint, bool verbose) {
  const std::string& server = endpoint.server;
  std::string text(status.message());
  if (absl::IsUnavailable(status) && rpc::ReasonOf(status).empty()) {
    // No server has answered: gRPC's own words, of which the last part is the cause.
    const size_t cause = text.rfind(": ");
    if (cause != std::string::npos) text.erase(0, cause + 2);
    text = absl::StrCat("cannot reach ", server, rpc::UsesTls(endpoint) ? " by TLS: " : ": ", text,
                        "; is qzo-server running there? --server or QZO_SERVER names another");
    if (rpc::UsesTls(endpoint)) absl::StrAppend(&text, "; --tls-ca names the authority of its certificate");
  } else if (absl::IsUnavailable(status)) {
    text = absl::StrCat(server, " cannot serve this now: ", text, "; try again");
  } else if (absl::IsDeadlineExceeded(status)) {
    text = absl::StrCat(server, " did not answer in time: ", text, "; try again, or look at the server's log");
  }
  const std::optional<google::rpc::BadRequest> details = rpc::BadRequestOf(status);
  if (details && details->field_violations_size() > 0) {
    // The message of such a status repeats its violations.
    text = "the request is not valid:";
    for (const auto& violation : details->field_violations()) {
      absl::StrAppend(&text, "\n  ", violation.field(), violation.field().empty() ? "" : ": ", violation.description());
    }
  }
  if (verbose)
    absl::StrAppend(&text, "\n  code ", absl::StatusCodeToString(status.code()), ", reason ", rpc::ReasonOf(status),
                    "\n  ", status.message());
  return text;
}

}  // namespace qzo::client
