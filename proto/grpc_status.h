// absl::Status to gRPC and back, with google.rpc details: the one file that maps errors to the wire. Pure; thread-safe.
#ifndef QZO_PROTO_GRPC_STATUS_H_
#define QZO_PROTO_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace qzo::rpc {

// `status` (not OK) with an ErrorInfo of this reason. Replaces an earlier one.
absl::Status WithReason(absl::Status status, std::string_view reason);
// "" when there is none.
std::string ReasonOf(const absl::Status& status);

// Long texts and lists are shortened, so that the error fits into HTTP/2 trailers wherever it goes.
absl::Status WithBadRequest(const absl::Status& status, const google::rpc::BadRequest& details);
absl::Status WithResource(absl::Status status, std::string_view type, std::string_view name);
// After how long the call may be made again: the server refused it before it did anything.
absl::Status WithRetryDelay(absl::Status status, absl::Duration delay);
std::optional<absl::Duration> RetryDelayOf(const absl::Status& status);
// Field violations, resource and reason, as a client shows them. Empty when there are none.
std::optional<google::rpc::BadRequest> BadRequestOf(const absl::Status& status);

// INVALID_ARGUMENT whose message is one "field: found, expected" a line becomes a BadRequest with one violation a line.
absl::Status ViolationsFromLines(const absl::Status& status, std::string_view reason);

// A status without reason gets one from its code (NOT_FOUND, UNAVAILABLE, …), so that every error carries exactly one.
grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);
google::rpc::Status ToProto(const absl::Status& status);
absl::Status FromProto(const google::rpc::Status& status);

}  // namespace qzo::rpc

#endif  // QZO_PROTO_GRPC_STATUS_H_
