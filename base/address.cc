#include "base/address.h"

#include <arpa/inet.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace qzo::base {

bool IsLoopback(std::string_view address) {
  if (address.starts_with("unix:")) return true;
  const std::string host(address.substr(0, address.rfind(':')));
  if (host == "localhost" || host == "[::1]") return true;
  in_addr number{};  // a whole numeric address only: 127.0.0.1.example.com is a name
  return ::inet_pton(AF_INET, host.c_str(), &number) == 1 && (ntohl(number.s_addr) >> 24) == 127;
}

absl::Status CheckMetricsAddress(std::string_view address, bool open) {
  if (open || IsLoopback(address)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "refusing to serve metrics on ", ToAbsl(address),
      ": they are clear text, name running jobs and ask nobody for credentials; listen on 127.0.0.1, or pass "
      "--metrics-open on a network that you trust, or --metrics-secured to a server with TLS and tokens"));
}

}  // namespace qzo::base
