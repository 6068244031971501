#include "server/page/web_server.h"

#include <utility>

#include "base/address.h"
#include "base/status_macros.h"

namespace qzo::server {
namespace {

// Scripts, styles and pictures of its own alone, no frames, no trace in caches or other sites' logs.
const base::HttpHeaders kHeaders = {
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; form-action 'self'; "
     "base-uri 'none'; frame-ancestors 'none'"},
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    {"Referrer-Policy", "no-referrer"},
    {"Cache-Control", "no-store"},
};

bool IsLocalName(const std::string& host) {
  if (host.empty()) return false;
  const bool has_port = host.find(':') != std::string::npos && host.back() != ']';
  return base::IsLoopback(has_port ? host : host + ":80");
}

std::string Parameter(const base::HttpRequest& request, const char* name) {
  const auto found = request.parameters.find(name);
  return found == request.parameters.end() ? "" : found->second;
}

}  // namespace

absl::StatusOr<std::unique_ptr<WebServer>> WebServer::Start(const Options& options,
                                                            std::function<PageAnswer(const PageRequest&)> answer) {
  // Checks the files; what it returns would be for gRPC.
  if (!options.tls.cert.empty())
    QZO_RETURN_IF_ERROR(rpc::WatchTlsFiles({"", options.tls.cert, options.tls.key}).status());
  const auto handle = [local = options.local_names_only,
                       answer = std::move(answer)](const base::HttpRequest& request) -> base::HttpAnswer {
    if (local && !IsLocalName(request.host)) return {.code = 403, .body = "this server answers to localhost only\n"};
    PageAnswer page = answer({.method = request.method,
                              .path = request.path,
                              .page = Parameter(request, "page"),
                              .token = Parameter(request, "token"),
                              .authorization = request.authorization,
                              .cookie = request.cookie});
    return {page.code, std::move(page.type), std::move(page.body), std::move(page.headers)};
  };
  QZO_ASSIGN_OR_RETURN(auto http, base::HttpServer::Start({.what = "the status page",
                                                           .address = options.address,
                                                           .cert = options.tls.cert,
                                                           .key = options.tls.key,
                                                           .headers = kHeaders},
                                                          handle));
  return std::unique_ptr<WebServer>(new WebServer(std::move(http)));
}

}  // namespace qzo::server
