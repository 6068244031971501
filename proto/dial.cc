#include "proto/dial.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_credentials_options.h>

#include "base/address.h"
#include "base/status_macros.h"

namespace qzo::rpc {
namespace {

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> CredentialsOf(const Endpoint& endpoint) {
  if (!UsesTls(endpoint)) return grpc::InsecureChannelCredentials();
  if (!endpoint.tls.any()) return grpc::SslCredentials({});
  QZO_ASSIGN_OR_RETURN(const auto certificates, WatchTlsFiles(endpoint.tls));
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(certificates);
  if (!endpoint.tls.ca.empty()) options.watch_root_certs();
  if (!endpoint.tls.cert.empty()) options.watch_identity_key_cert_pairs();
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace

bool UsesTls(const Endpoint& endpoint) {
  return endpoint.tls.any() || (!endpoint.insecure && !base::IsLoopback(endpoint.server));
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Dial(const Endpoint& endpoint, const grpc::ChannelArguments& arguments) {
  QZO_ASSIGN_OR_RETURN(const auto credentials, CredentialsOf(endpoint));
  return grpc::CreateCustomChannel(endpoint.server, credentials, arguments);
}

}  // namespace qzo::rpc
