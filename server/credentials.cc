#include "server/credentials.h"

#include <spdlog/spdlog.h>

#include "absl/strings/str_cat.h"
#include "base/address.h"
#include "base/status_macros.h"

namespace qzo::server {

absl::Status CheckListen(const ListenOptions& options) {
  if (options.insecure || base::IsLoopback(options.address)) return absl::OkStatus();
  const bool encrypted = !options.tls.cert.empty();
  if (encrypted && (options.tokens || !options.tls.ca.empty())) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "refusing to listen on ", options.address, ": whoever reaches it could read and change everything",
      encrypted ? "" : ", in clear text",
      "; pass --tls-cert and --tls-key with --admin-token-file or --tls-client-ca, or listen on 127.0.0.1, or "
      "pass --insecure on a network that you trust"));
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const ListenOptions& options) {
  QZO_RETURN_IF_ERROR(CheckListen(options));
  const bool encrypted = !options.tls.cert.empty(), authenticated = options.tokens || !options.tls.ca.empty();
  if (!base::IsLoopback(options.address) && !(encrypted && authenticated)) {
    spdlog::warn("INSECURE: {} is open to everyone who can reach it, without {}", options.address,
                 encrypted ? "authentication" : "encryption");
  }
  if (!options.tls.any()) return grpc::InsecureServerCredentials();
  if (!encrypted) return absl::InvalidArgumentError("--tls-client-ca and --tls-key need --tls-cert");
  return rpc::MakeTlsServerCredentials(options.tls, options.tls_refresh);
}

}  // namespace qzo::server
