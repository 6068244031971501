#include "worker/credentials.h"

#include <arpa/inet.h>

#include "absl/strings/str_cat.h"

namespace qzo::worker {

bool IsLoopback(std::string_view server) {
  if (server.starts_with("unix:")) return true;
  std::string host(server.substr(0, server.rfind(':')));
  if (host == "localhost" || host == "[::1]") return true;
  in_addr address{};  // only a whole numeric address: 127.evil.example is a name
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1 && (ntohl(address.s_addr) >> 24) == 127;
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(const CredentialsOptions& options) {
  if (!options.insecure && !IsLoopback(options.server)) {
    return absl::FailedPreconditionError(absl::StrCat(
        options.server, " is not on this machine: data and model would travel in clear text; --insecure allows it"));
  }
  return grpc::InsecureChannelCredentials();
}

}  // namespace qzo::worker
