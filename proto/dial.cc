#include "proto/dial.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <grpcpp/support/client_interceptor.h>

#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/address.h"
#include "base/fs.h"
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

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  QZO_ASSIGN_OR_RETURN(const std::string text, base::RealFileSystem()->Read(path));
  return std::string(absl::StripAsciiWhitespace(text));
}

// Adds the token to every call: to those in clear text on this machine, too, which gRPC's call credentials refuse.
class Bearer final : public grpc::experimental::Interceptor {
 public:
  explicit Bearer(const std::string& path) : path_(path) {}
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(grpc::experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      const absl::StatusOr<std::string> token = ReadToken(path_);
      // Without it the server says what is missing.
      if (token.ok()) methods->GetSendInitialMetadata()->emplace("authorization", absl::StrCat("Bearer ", *token));
    }
    methods->Proceed();
  }

 private:
  const std::string& path_;
};

class BearerFactory final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit BearerFactory(std::string path) : path_(std::move(path)) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(grpc::experimental::ClientRpcInfo*) override {
    return new Bearer(path_);
  }

 private:
  const std::string path_;
};

}  // namespace

bool UsesTls(const Endpoint& endpoint) {
  return endpoint.tls.any() || (!endpoint.insecure && !base::IsLoopback(endpoint.server));
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Dial(const Endpoint& endpoint, const grpc::ChannelArguments& arguments) {
  QZO_ASSIGN_OR_RETURN(const auto credentials, CredentialsOf(endpoint));
  if (endpoint.token_file.empty()) return grpc::CreateCustomChannel(endpoint.server, credentials, arguments);
  QZO_RETURN_IF_ERROR(ReadToken(endpoint.token_file).status());  // now rather than in the first call
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(std::make_unique<BearerFactory>(endpoint.token_file));
  return grpc::experimental::CreateCustomChannelWithInterceptors(endpoint.server, credentials, arguments,
                                                                 std::move(interceptors));
}

}  // namespace qzo::rpc
