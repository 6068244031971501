// How clients and workers reach a server: the one place that makes their channels.
#ifndef QZO_PROTO_DIAL_H_
#define QZO_PROTO_DIAL_H_

#include <grpcpp/channel.h>
#include <grpcpp/support/channel_arguments.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "proto/tls.h"

namespace qzo::rpc {

struct Endpoint {
  std::string server = "127.0.0.1:7070";  // host:port or unix:path
  bool insecure = false;                  // clear text beyond this machine
  TlsFiles tls;
  std::string token_file;  // holds a token's secret; read for every call, so that it may be replaced
};

// Whether the connection is encrypted: with any TLS file, and beyond this machine unless `insecure`.
bool UsesTls(const Endpoint& endpoint);

// TLS 1.2 or newer. The server's certificate must name its host and come from tls.ca, or from one of the system's
// authorities without; tls.cert and tls.key prove who we are. Connects when first used. Possible errors: those of
// WatchTlsFiles, and of reading the token file.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Dial(const Endpoint& endpoint, const grpc::ChannelArguments& arguments);

}  // namespace qzo::rpc

#endif  // QZO_PROTO_DIAL_H_
