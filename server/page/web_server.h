// The status page over HTTP, in clear text or over TLS. Thread-safe.
#ifndef QZO_SERVER_PAGE_WEB_SERVER_H_
#define QZO_SERVER_PAGE_WEB_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "base/http_server.h"
#include "proto/tls.h"
#include "server/page/site.h"

namespace qzo::server {

class WebServer {
 public:
  struct Options {
    std::string address;  // host:port; port 0 = any
    rpc::TlsFiles tls;    // with `cert` TLS 1.2 or newer; read for every connection, so that they may be replaced
    // Requests must be for localhost by name or number: pages of other sites, which can make a browser call a server
    // that lets everyone in, cannot forge that.
    bool local_names_only = false;
  };

  // `answer` is called on several threads. Possible errors: INVALID_ARGUMENT (the address, TLS files), UNAVAILABLE (the
  // address cannot be bound).
  static absl::StatusOr<std::unique_ptr<WebServer>> Start(const Options& options,
                                                          std::function<PageAnswer(const PageRequest&)> answer);
  // Its destructor waits for requests in progress.
  int port() const { return http_->port(); }

 private:
  explicit WebServer(std::unique_ptr<base::HttpServer> http) : http_(std::move(http)) {}
  const std::unique_ptr<base::HttpServer> http_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_PAGE_WEB_SERVER_H_
