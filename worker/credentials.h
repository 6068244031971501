// How the worker proves who it is and checks whom it talks to.
#ifndef QZO_WORKER_CREDENTIALS_H_
#define QZO_WORKER_CREDENTIALS_H_

#include <grpcpp/security/credentials.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace qzo::worker {

struct CredentialsOptions {
  std::string server;     // host:port
  bool insecure = false;  // clear text is accepted beyond this machine
};

// Whether `server` can only be this machine: localhost, 127.0.0.0/8, [::1] or a unix socket.
bool IsLoopback(std::string_view server);

// FAILED_PRECONDITION when the connection would leave the machine in clear text without leave.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(const CredentialsOptions& options);

}  // namespace qzo::worker

#endif  // QZO_WORKER_CREDENTIALS_H_
