#include "base/http_server.h"

#include <httplib.h>
#include <openssl/ssl.h>

#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace qzo::base {
namespace {

constexpr size_t kThreads = 4;
constexpr size_t kMaxBodyBytes = 16 << 10;
constexpr int kTimeoutSeconds = 5;  // that a peer may take for each read or write

int UseFiles(SSL* ssl, void* options_in) {
  const auto& options = *static_cast<const HttpServer::Options*>(options_in);
  return SSL_use_certificate_chain_file(ssl, options.cert.c_str()) == 1 &&
         SSL_use_PrivateKey_file(ssl, options.key.c_str(), SSL_FILETYPE_PEM) == 1 && SSL_check_private_key(ssl) == 1;
}

// A second server on the port is an error, not a load balancer.
void NoSharedPorts(socket_t socket) {
  const int yes = 1;
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(const Options& options, std::function<HttpAnswer(const HttpRequest&)> answer)
      : options_(options), answer_(std::move(answer)) {}
  ~Impl() {
    if (server_ != nullptr) server_->stop();
    if (thread_.joinable()) thread_.join();
  }

  absl::Status Start() {
    const size_t colon = options_.address.rfind(':');
    int port = 0;
    if (colon == std::string::npos || !absl::SimpleAtoi(options_.address.substr(colon + 1), &port)) {
      return absl::InvalidArgumentError(absl::StrCat(options_.what, ": '", options_.address, "': expected host:port"));
    }
    if (options_.cert.empty()) {
      server_ = std::make_unique<httplib::Server>();
    } else {
      server_ = std::make_unique<httplib::SSLServer>([this](SSL_CTX& context) {
        SSL_CTX_set_min_proto_version(&context, TLS1_2_VERSION);
        SSL_CTX_set_cert_cb(&context, &UseFiles, const_cast<Options*>(&options_));
        return true;
      });
    }
    server_->new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
    server_->set_socket_options(&NoSharedPorts);
    server_->set_keep_alive_max_count(1);  // idle connections would keep the threads
    server_->set_read_timeout(kTimeoutSeconds);
    server_->set_write_timeout(kTimeoutSeconds);
    server_->set_payload_max_length(kMaxBodyBytes);
    server_->set_default_headers({options_.headers.begin(), options_.headers.end()});
    server_->Get(".*", [this](const auto& request, auto& response) { Handle(request, &response); });
    server_->Post(".*", [this](const auto& request, auto& response) { Handle(request, &response); });
    std::string host = options_.address.substr(0, colon);
    if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
    port_ = port == 0 ? server_->bind_to_any_port(host) : (server_->bind_to_port(host, port) ? port : -1);
    if (port_ <= 0) {
      return absl::UnavailableError(absl::StrCat("cannot serve ", options_.what, " on ", options_.address,
                                                 ": the port is in use, or the address is not this machine's"));
    }
    thread_ = std::thread([this] { server_->listen_after_bind(); });
    while (!server_->is_running()) std::this_thread::yield();  // stop() before that would not be heard
    return absl::OkStatus();
  }

  int port() const { return port_; }

 private:
  void Handle(const httplib::Request& request, httplib::Response* response) {
    HttpRequest asked{.method = request.method == "POST" ? "POST" : "GET",
                      .path = request.path,
                      .parameters = {},
                      .host = request.get_header_value("Host"),
                      .authorization = request.get_header_value("Authorization"),
                      .cookie = request.get_header_value("Cookie")};
    for (const auto& [name, value] : request.params) asked.parameters.try_emplace(name, value);
    const HttpAnswer answer = answer_(asked);
    response->status = answer.code;
    for (const auto& [name, value] : answer.headers) response->set_header(name, value);
    response->set_content(answer.body, answer.type);
  }

  const Options options_;
  const std::function<HttpAnswer(const HttpRequest&)> answer_;
  std::unique_ptr<httplib::Server> server_;
  int port_ = 0;
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const Options& options,
                                                              std::function<HttpAnswer(const HttpRequest&)> answer) {
  auto impl = std::make_unique<Impl>(options, std::move(answer));
  QZO_RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;
int HttpServer::port() const { return impl_->port(); }

}  // namespace qzo::base
