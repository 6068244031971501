#include "server/credentials.h"

#include <arpa/inet.h>
#include <spdlog/spdlog.h>

#include "absl/strings/str_cat.h"

namespace qzo::server {

bool IsLoopback(std::string_view address) {
  if (address.starts_with("unix:")) return true;
  const std::string host(address.substr(0, address.rfind(':')));
  if (host == "localhost" || host == "[::1]") return true;
  in_addr number{};  // a whole numeric address only: 127.0.0.1.example.com is a name
  return ::inet_pton(AF_INET, host.c_str(), &number) == 1 && (ntohl(number.s_addr) >> 24) == 127;
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const std::string& address,
                                                                               bool insecure) {
  if (!IsLoopback(address)) {
    if (!insecure) {
      return absl::FailedPreconditionError(
          absl::StrCat("refusing to listen on ", address,
                       ": whoever reaches it could read and change everything, in clear text; listen on "
                       "127.0.0.1, or pass --insecure on a network that you trust"));
    }
    spdlog::warn("INSECURE: {} is open to everyone who can reach it, without encryption or authentication", address);
  }
  return grpc::InsecureServerCredentials();
}

}  // namespace qzo::server
