// How the server proves itself and who may connect: the one place that makes server credentials.
#ifndef QZO_SERVER_CREDENTIALS_H_
#define QZO_SERVER_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/tls.h"

namespace qzo::server {

struct ListenOptions {
  std::string address;    // host:port or unix:path
  bool insecure = false;  // clear text beyond this machine
  rpc::TlsFiles tls;      // `ca` issues the certificates of clients
  bool tokens = false;    // callers must have a certificate or a token
  absl::Duration tls_refresh = absl::Seconds(10);
};

// Beyond loopback only with TLS and authentication, or when `insecure` says so: FAILED_PRECONDITION otherwise.
absl::Status CheckListen(const ListenOptions& options);

// TLS 1.2 or newer with a certificate, clear text without. With tls.ca, clients may show a certificate, and a wrong one
// ends the connection; whoever shows none needs a token. Possible errors: those of CheckListen, INVALID_ARGUMENT for
// TLS files that cannot be used.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const ListenOptions& options);

}  // namespace qzo::server

#endif  // QZO_SERVER_CREDENTIALS_H_
