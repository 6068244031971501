// HTTP in clear text or over TLS; the one place that uses the HTTP library. Thread-safe.
#ifndef QZO_BASE_HTTP_SERVER_H_
#define QZO_BASE_HTTP_SERVER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace qzo::base {

struct HttpRequest {
  std::string method;                             // GET or POST
  std::string path;                               // decoded, without the query
  std::map<std::string, std::string> parameters;  // of the query, or of a form
  // Headers.
  std::string host;
  std::string authorization;
  std::string cookie;
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpAnswer {
  int code = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body;
  HttpHeaders headers = {};
};

class HttpServer {
 public:
  struct Options {
    std::string what;     // is served, for messages: "metrics"
    std::string address;  // host:port; port 0 = any free one
    // PEM files: TLS 1.2 or newer. They are read for every connection, so that they may be replaced, and were checked
    // before.
    std::string cert = {};
    std::string key = {};
    HttpHeaders headers = {};  // of every answer
  };

  // `answer` is called on several threads. Possible errors: INVALID_ARGUMENT (the address), UNAVAILABLE (it cannot be
  // bound).
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const Options& options,
                                                           std::function<HttpAnswer(const HttpRequest&)> answer);
  // Waits for requests in progress.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace qzo::base

#endif  // QZO_BASE_HTTP_SERVER_H_
