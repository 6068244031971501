// HTTP for the status page, in clear text or over TLS; the one place that uses the HTTP library. Thread-safe.
#ifndef QZO_SERVER_PAGE_WEB_SERVER_H_
#define QZO_SERVER_PAGE_WEB_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
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
  // Waits for requests in progress.
  ~WebServer();
  WebServer(const WebServer&) = delete;
  WebServer& operator=(const WebServer&) = delete;

  int port() const;

 private:
  class Impl;
  explicit WebServer(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_PAGE_WEB_SERVER_H_
