#include "proto/tls.h"

#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace qzo::rpc {
namespace {

// `ok` is what an OpenSSL call returned.
absl::Status Checked(int ok, const std::string& path, const char* expected) {
  if (ok == 1) return absl::OkStatus();
  std::array<char, 256> cause{};
  ERR_error_string_n(ERR_get_error(), cause.data(), cause.size());
  ERR_clear_error();
  return absl::InvalidArgumentError(absl::StrCat(path, ": expected ", expected, " (", cause.data(), ")"));
}

absl::Status Check(const TlsFiles& files) {
  if (files.cert.empty() != files.key.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(files.cert.empty() ? files.key : files.cert,
                     files.cert.empty() ? ": a key without its certificate" : ": a certificate without its key"));
  }
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_method()), &SSL_CTX_free);
  if (context == nullptr) return absl::InternalError("OpenSSL cannot be used");
  if (!files.cert.empty()) {
    QZO_RETURN_IF_ERROR(Checked(SSL_CTX_use_certificate_chain_file(context.get(), files.cert.c_str()), files.cert,
                                "a certificate in PEM form"));
    QZO_RETURN_IF_ERROR(Checked(SSL_CTX_use_PrivateKey_file(context.get(), files.key.c_str(), SSL_FILETYPE_PEM),
                                files.key, absl::StrCat("the private key of ", files.cert, " in PEM form").c_str()));
  }
  if (files.ca.empty()) return absl::OkStatus();
  return Checked(SSL_CTX_load_verify_locations(context.get(), files.ca.c_str(), nullptr), files.ca,
                 "certificates of authorities in PEM form");
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::experimental::CertificateProviderInterface>> WatchTlsFiles(
    const TlsFiles& files, absl::Duration refresh) {
  QZO_RETURN_IF_ERROR(Check(files));
  const auto seconds = static_cast<unsigned>(std::max<int64_t>(1, absl::ToInt64Seconds(refresh)));
  return std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(files.key, files.cert, files.ca, seconds);
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeTlsServerCredentials(const TlsFiles& files,
                                                                                  absl::Duration refresh) {
  QZO_ASSIGN_OR_RETURN(const auto certificates, WatchTlsFiles(files, refresh));
  grpc::experimental::TlsServerCredentialsOptions tls(certificates);
  tls.watch_identity_key_cert_pairs();
  if (!files.ca.empty()) {
    tls.watch_root_certs();
    tls.set_cert_request_type(GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(tls);
}

}  // namespace qzo::rpc
