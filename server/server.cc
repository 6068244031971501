#include "server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/monitor_server.h"
#include "base/status_macros.h"
#include "server/adapter_files.h"
#include "server/adapter_service.h"
#include "server/audit_log.h"
#include "server/audit_service.h"
#include "server/backend.h"
#include "server/call_interceptor.h"
#include "server/coordination_service.h"
#include "server/credentials.h"
#include "server/dataset_service.h"
#include "server/inference_service.h"
#include "server/job_service.h"
#include "server/live_metrics.h"
#include "server/model_service.h"
#include "server/models.h"
#include "server/page/site.h"
#include "server/page/web_server.h"
#include "server/project_quota.h"
#include "server/sqlite_store.h"
#include "server/ticker.h"
#include "server/token_service.h"
#include "server/tokens.h"
#include "server/worker_service.h"

namespace qzo::server {
namespace {

constexpr int kCallThreads = 8;
constexpr int kHeavyThreads = 2;
constexpr size_t kModelsKept = 4;
constexpr int kMaxMessageBytes = 32 << 20;  // evaluations of many options; uploads come in chunks of 1 MiB
constexpr int kWindowBytes = 4 << 20;
constexpr int kMaxStreamsPerConnection = 1024;
constexpr size_t kShareOfMemory = 4;  // messages on their way may take one in so many parts of the machine's memory

size_t MachineMemoryBytes() {
  return static_cast<size_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

// A worker's stream is silent while it computes: pings find dead peers on both sides. Window probing would add pings to
// every step's few bytes; a fixed window serves uploads instead.
void ConfigureTransport(absl::Duration handshake, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(kMaxMessageBytes);
  // A second server on the port is an error, not a load balancer.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kWindowBytes);
  // Strangers: those who open connections and say nothing, and those who keep them for ever. A connection that has
  // reached its age finishes its calls, however long they take, and gets no new ones.
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                              static_cast<int>(absl::ToInt64Milliseconds(handshake)));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 10 * 60'000);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, 60 * 60'000);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  grpc::ResourceQuota quota("qzo-server");
  quota.Resize(MachineMemoryBytes() / kShareOfMemory);
  builder->SetResourceQuota(quota);
}

}  // namespace

class Server::Impl {
 public:
  explicit Impl(const Options& options) : options_(options), streams_(options.clock) {}

  absl::Status Start() {
    QZO_RETURN_IF_ERROR(ExposeMetrics());
    QZO_RETURN_IF_ERROR(OpenStorage());
    QZO_RETURN_IF_ERROR(coordinator_->Recover());
    for (const std::string& path : options_.import_models) {
      QZO_ASSIGN_OR_RETURN(const v1::Model model, ImportModel(backend_, path));
      spdlog::info("{} is {}", path, model.name());
    }
    QZO_RETURN_IF_ERROR(Serve());
    if (monitor_ != nullptr) {
      monitor_->Add(std::make_shared<JobMetrics>([this] { return coordinator_->LiveJobs(); }, options_.metrics_jobs));
      monitor_->Add(std::make_shared<StorageMetrics>(store_.get(), options_.data_directory));
    }
    QZO_RETURN_IF_ERROR(ServePage());
    not_ready_ = "";
    spdlog::info("serving on {}, data in {}", LocalAddress(), options_.data_directory);
    return absl::OkStatus();
  }

  void Stop() {
    if (std::exchange(stopped_, true)) return;
    not_ready_ = "draining";
    page_.reset();  // it calls the services
    if (grpc_ != nullptr) grpc_->GetHealthCheckService()->SetServingStatus(false);
    if (coordinator_ != nullptr) coordinator_->Stop();
    streams_.CloseAll();
    if (grpc_ == nullptr) return;
    grpc_->Shutdown(absl::ToChronoTime(absl::Now() + options_.drain_timeout));
    grpc_->Wait();
  }

  int metrics_port() const { return monitor_ == nullptr ? 0 : monitor_->port(); }
  int page_port() const { return page_ == nullptr ? 0 : page_->port(); }

  std::string LocalAddress() const {
    if (absl::StartsWith(options_.listen, "unix:")) return options_.listen;
    const std::string host = options_.listen.substr(0, options_.listen.rfind(':'));
    return absl::StrCat(host == "0.0.0.0" || host == "[::]" ? "127.0.0.1" : host, ":", port_);
  }

 private:
  absl::Status OpenStorage() {
    base::FileSystem* const fs = base::RealFileSystem();
    QZO_RETURN_IF_ERROR(fs->CreateDirectories(options_.data_directory));
    QZO_ASSIGN_OR_RETURN(
        store_, SqliteStore::Open({.path = absl::StrCat(options_.data_directory, "/qzo.db"), .clock = options_.clock}));
    QZO_ASSIGN_OR_RETURN(blobs_, BlobStore::Open(absl::StrCat(options_.data_directory, "/blobs"), fs));
    keeper_ = std::make_unique<BlobKeeper>(store_.get(), blobs_.get());
    models_ = std::make_unique<ModelCache>(blobs_.get(), kModelsKept);
    QZO_RETURN_IF_ERROR(OpenGate());
    Coordinator::Options coordinator;
    coordinator.build_adapter = [this](const v1::FineTuningJob& job, const method::JournalChunk& journal,
                                       uint64_t digest) {
      return StoreAdapterFile(blobs_.get(), models_.get(), job, journal, digest);
    };
    coordinator.discard_blob = [this](const std::string& digest) { keeper_->Discard(digest); };
    coordinator_ = std::make_unique<Coordinator>(coordinator, store_.get(), blobs_.get(), options_.clock, &metrics_);
    backend_ = {.coordinator = coordinator_.get(),
                .store = store_.get(),
                .blobs = blobs_.get(),
                .keeper = keeper_.get(),
                .models = models_.get(),
                .calls = &calls_,
                .heavy = &heavy_,
                .streams = &streams_,
                .access = access_.get(),
                .quota = quota_.get(),
                .clock = options_.clock,
                .sign_of_life = options_.sign_of_life,
                .stall = options_.stall};
    return absl::OkStatus();
  }

  absl::Status OpenGate() {
    QZO_ASSIGN_OR_RETURN(tokens_, Tokens::Load(store_.get()));
    if (!options_.admin_token_file.empty()) {
      QZO_ASSIGN_OR_RETURN(const std::string secret, ReadOrMakeSecret(options_.admin_token_file));
      tokens_->Add(base::Sha256Hex(secret), {"admin-token-file", v1::Token::ADMIN, kEveryProject});
    }
    watchers_ = tokens_.get();
    Access::Options access;
    access.required = needs_credentials();
    if (access.required) {
      access.calls_per_second = options_.calls_per_second;
      access.open_calls = options_.open_calls;
      access.open_bytes = options_.open_bytes;
    }
    AuditLog::Options audit;
    audit.kept = options_.audit_kept;
    audit.max_records = options_.audit_records;
    audit_ = std::make_unique<AuditLog>(audit, store_.get(), options_.clock, &metrics_.audit_unstored);
    quota_ = std::make_unique<ProjectQuota>(
        ProjectQuota::Options{.bytes = options_.project_bytes, .open_jobs = options_.project_jobs}, store_.get());
    access_ = std::make_unique<Access>(access, tokens_.get(), audit_.get(), &streams_, options_.clock);
    housekeeper_ = std::make_unique<Ticker>(options_.housekeeping, [this] {
      access_->CheckStreams();
      audit_->Tick();
    });
    return absl::OkStatus();
  }

  absl::Status Serve() {
    QZO_ASSIGN_OR_RETURN(const auto credentials, MakeServerCredentials(Listening(options_.listen)));
    grpc::EnableDefaultHealthCheckService(true);
    if (options_.reflection) grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    services_.push_back(std::make_unique<JobService>(backend_));
    services_.push_back(std::make_unique<DatasetService>(backend_));
    services_.push_back(std::make_unique<ModelService>(backend_));
    services_.push_back(std::make_unique<AdapterService>(backend_));
    services_.push_back(std::make_unique<WorkerService>(backend_));
    services_.push_back(std::make_unique<TokenService>(backend_));
    services_.push_back(std::make_unique<AuditService>(backend_));
    services_.push_back(std::make_unique<InferenceService>(backend_, &router_));
    services_.push_back(std::make_unique<CoordinationService>(backend_));
    services_.push_back(std::make_unique<ServingService>(backend_, &router_));
    grpc::ServerBuilder builder;
    ConfigureTransport(options_.handshake, &builder);
    for (const auto& service : services_) builder.RegisterService(service.get());
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
    interceptors.push_back(std::make_unique<CallInterceptorFactory>(metrics_.registry.get(), options_.clock));
    builder.experimental().SetInterceptorCreators(std::move(interceptors));
    builder.AddListeningPort(options_.listen, credentials, &port_);
    grpc_ = builder.BuildAndStart();
    if (grpc_ == nullptr) {
      return absl::UnavailableError(absl::StrCat("cannot listen on ", options_.listen,
                                                 ": the port is in use, or the address is not this machine's"));
    }
    for (const char* name : {"qzo.v1.JobService", "liveness"})
      grpc_->GetHealthCheckService()->SetServingStatus(name, true);
    return absl::OkStatus();
  }

  absl::Status ServePage() {
    if (options_.page_address.empty()) return absl::OkStatus();
    QZO_RETURN_IF_ERROR(CheckListen(Listening(options_.page_address)));
    Site::Options site;
    site.secure = !options_.tls.cert.empty();
    site.project_of = [this](const std::string& secret) {
      const std::optional<Identity> identity = tokens_->Find(secret);
      return identity ? identity->project : kEveryProject;
    };
    site_ = std::make_unique<Site>(std::move(site), grpc_->InProcessChannel(grpc::ChannelArguments()), options_.clock);
    QZO_ASSIGN_OR_RETURN(page_,
                         WebServer::Start({options_.page_address, options_.tls, !needs_credentials()},
                                          [this](const PageRequest& request) { return site_->Answer(request); }));
    spdlog::info("status page on port {}{}", page_->port(), options_.tls.cert.empty() ? "" : " (https)");
    return absl::OkStatus();
  }

  bool needs_credentials() const { return !options_.admin_token_file.empty() || !options_.tls.ca.empty(); }

  ListenOptions Listening(const std::string& address) const {
    return {address, options_.insecure, options_.tls, !options_.admin_token_file.empty(), options_.tls_refresh};
  }

  absl::Status ExposeMetrics() {
    if (options_.metrics_address.empty()) return absl::OkStatus();
    base::MonitorServer::Options monitor;
    monitor.address = options_.metrics_address;
    monitor.version = QZO_VERSION;
    monitor.why_not_ready = [this] { return std::string(not_ready_.load()); };
    if (options_.metrics_secured) {
      if (!options_.tls.cert.empty()) {
        QZO_RETURN_IF_ERROR(rpc::WatchTlsFiles({"", options_.tls.cert, options_.tls.key}).status());
      }
      monitor.cert = options_.tls.cert;
      monitor.key = options_.tls.key;
      monitor.may_watch = [this](const std::string& authorization) { return MayWatch(authorization); };
    }
    QZO_ASSIGN_OR_RETURN(monitor_, base::MonitorServer::Start(std::move(monitor)));
    monitor_->Add(metrics_.registry);
    spdlog::info("metrics on port {}", monitor_->port());
    return absl::OkStatus();
  }

  // Metrics name the jobs of every project.
  bool MayWatch(const std::string& authorization) const {
    constexpr absl::string_view kScheme = "bearer ";
    const Tokens* const tokens = watchers_.load();
    if (tokens == nullptr || !absl::StartsWithIgnoreCase(authorization, kScheme)) return false;
    const std::optional<Identity> caller =
        tokens->Find(std::string(absl::StripAsciiWhitespace(authorization.substr(kScheme.size()))));
    return caller && options_.clock->Now() < caller->expires && caller->project == kEveryProject &&
           caller->role != v1::Token::WORKER;
  }

  // In the order of dependence: what comes later uses what comes before.
  const Options options_;
  bool stopped_ = false;
  int port_ = 0;
  Metrics metrics_{std::make_shared<prometheus::Registry>()};
  std::atomic<const char*> not_ready_ = "recovering";  // "" once it serves
  std::unique_ptr<SqliteStore> store_;
  std::unique_ptr<Tokens> tokens_;
  std::atomic<const Tokens*> watchers_ = nullptr;  // tokens_ once they are known
  std::unique_ptr<AuditLog> audit_;
  std::unique_ptr<ProjectQuota> quota_;
  OpenStreams streams_;
  std::unique_ptr<Access> access_;
  std::unique_ptr<Ticker> housekeeper_;
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<BlobKeeper> keeper_;
  std::unique_ptr<ModelCache> models_;
  std::unique_ptr<Coordinator> coordinator_;
  InferenceRouter router_;
  Executor calls_{kCallThreads};
  Executor heavy_{kHeavyThreads};
  Backend backend_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<grpc::Server> grpc_;
  std::unique_ptr<base::MonitorServer> monitor_;
  std::unique_ptr<Site> site_;
  std::unique_ptr<WebServer> page_;
};

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Options& options) {
  auto server = std::unique_ptr<Server>(new Server(std::make_unique<Impl>(options)));
  QZO_RETURN_IF_ERROR(server->impl_->Start());
  return server;
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() { Stop(); }
void Server::Stop() { impl_->Stop(); }
std::string Server::local_address() const { return impl_->LocalAddress(); }
int Server::metrics_port() const { return impl_->metrics_port(); }
int Server::page_port() const { return impl_->page_port(); }

}  // namespace qzo::server
