// Certificates, keys and authorities in PEM files, checked once and then watched: what replaces them is used for the
// next connections, without a restart. Thread-safe.
#ifndef QZO_PROTO_TLS_H_
#define QZO_PROTO_TLS_H_

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace qzo::rpc {

struct TlsFiles {
  std::string ca;    // authorities that the peer's certificate must come from
  std::string cert;  // own certificate, followed by the authorities in between
  std::string key;   // of `cert`

  bool any() const { return !ca.empty() || !cert.empty() || !key.empty(); }
};

// Files left out ("") are not watched. INVALID_ARGUMENT, naming the file, for one that cannot be read as PEM, a
// certificate without key or the other way round, and a key of another certificate.
absl::StatusOr<std::shared_ptr<grpc::experimental::CertificateProviderInterface>> WatchTlsFiles(
    const TlsFiles& files, absl::Duration refresh = absl::Seconds(10));

// TLS 1.2 or newer for a server that proves itself by `files`. With files.ca, whoever connects may show a certificate,
// and a wrong one ends the connection. Possible errors: those of WatchTlsFiles.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeTlsServerCredentials(
    const TlsFiles& files, absl::Duration refresh = absl::Seconds(10));

}  // namespace qzo::rpc

#endif  // QZO_PROTO_TLS_H_
