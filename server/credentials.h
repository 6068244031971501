// How the server proves itself and who may connect: the one place that makes server credentials.
#ifndef QZO_SERVER_CREDENTIALS_H_
#define QZO_SERVER_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace qzo::server {

// Whether only this machine can reach `address` (host:port or unix:path).
bool IsLoopback(std::string_view address);

// Clear text without authentication, on loopback; elsewhere only when `insecure` says so. FAILED_PRECONDITION
// otherwise.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const std::string& address,
                                                                               bool insecure);

}  // namespace qzo::server

#endif  // QZO_SERVER_CREDENTIALS_H_
