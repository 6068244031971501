#include "worker/worker.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/fs.h"
#include "base/monitor_server.h"
#include "base/signals.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/communicator.h"
#include "kernels/kernels.h"
#include "worker/agent.h"
#include "worker/blob_client.h"
#include "worker/connection.h"
#include "worker/grpc_stages.h"
#include "worker/kind.h"
#include "worker/metrics.h"
#include "worker/model_cache.h"
#include "worker/process.h"
#include "worker/serving_connection.h"

namespace qzo::worker {
namespace {

constexpr int64_t kGpuPassRows = 4096;

// Nothing where passes are to run on the CPU. UNAVAILABLE where a GPU was asked for and there is none.
absl::StatusOr<std::unique_ptr<kernels::cuda::Gpu>> GpuOf(const Flags& flags) {
  if (flags.device == "cpu") return nullptr;
  absl::StatusOr<std::unique_ptr<kernels::cuda::Gpu>> gpu = kernels::cuda::OpenGpu();
  if (gpu.ok() || flags.device == "cuda") return gpu;
  spdlog::info("on the CPU: {}", base::ToStd(gpu.status().message()));
  return nullptr;
}

// Of models and replicas: no more than the device has, where they are on one.
uint64_t MemoryOf(const Flags& flags, const kernels::cuda::Gpu* gpu) {
  return gpu == nullptr ? flags.memory_bytes : std::min(flags.memory_bytes, static_cast<uint64_t>(gpu->free_bytes()));
}

// Nothing where this worker is to be no stage of a pipeline.
absl::StatusOr<std::unique_ptr<GrpcStages>> StagesOf(const Flags& flags) {
  if (flags.stage_address.empty()) return nullptr;
  GrpcStages::Options options;
  options.listen = flags.stage_address;
  options.advertise = flags.stage_advertise;
  options.insecure = flags.endpoint.insecure;
  options.tls = flags.endpoint.tls;
  options.tls_name = flags.stage_tls_name;
  options.clock = base::SystemClock();
  return GrpcStages::Start(options);
}

// Nothing where rows between stages are to travel by gRPC.
absl::StatusOr<std::unique_ptr<kernels::cuda::Communicators>> CommunicatorsOf(const Flags& flags,
                                                                              const kernels::cuda::Gpu* gpu) {
  if (flags.stage_transport != "nccl") return nullptr;
  if (gpu == nullptr) {
    return absl::FailedPreconditionError("--stage-transport nccl is between GPUs: forward passes run on the CPU here");
  }
  return kernels::cuda::OpenNccl();
}

v1::Attach AttachOf(const Flags& flags, const kernels::cuda::Gpu* gpu, uint64_t memory_bytes, int threads,
                    const GrpcStages* stages, const kernels::cuda::Communicators* communicators) {
  v1::Attach attach;
  attach.set_worker(flags.name);
  attach.set_incarnation(RandomIncarnation());
  attach.set_kind(gpu == nullptr ? KindOf(flags.arithmetic) : KindOfGpu(gpu->architecture()));
  attach.set_variant(gpu == nullptr ? flags.kernels : gpu->name());
  attach.set_hostname(Hostname());
  attach.set_version(kVersion);
  attach.set_threads(threads);
  attach.set_memory_bytes(static_cast<int64_t>(memory_bytes));
  if (stages != nullptr) attach.set_stage_address(stages->address());
  if (communicators != nullptr) attach.set_nccl_version(communicators->version());
  return attach;
}

}  // namespace

absl::Status RunWorker(const Flags& flags) {
  base::SignalWatch signals;
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<kernels::cuda::Gpu> gpu, GpuOf(flags));
  const uint64_t memory_bytes = MemoryOf(flags, gpu.get());
  QZO_ASSIGN_OR_RETURN(const auto channel, MakeChannel(flags.endpoint));
  base::FileSystem* fs = base::RealFileSystem();
  QZO_RETURN_IF_ERROR(fs->CreateDirectories(flags.cache_directory));
  ModelCache cache(flags.cache_directory, fs, flags.cache_bytes);
  for (const std::string& path : flags.models) {
    QZO_ASSIGN_OR_RETURN(const std::string digest, cache.Register(path));
    spdlog::info("{}: model {}", path, digest);
  }
  Metrics metrics(std::make_shared<prometheus::Registry>());
  metrics.memory_limit_bytes.Set(static_cast<double>(memory_bytes));
  std::unique_ptr<base::MonitorServer> monitor;
  if (!flags.metrics_address.empty()) {
    QZO_ASSIGN_OR_RETURN(
        monitor, base::MonitorServer::Start({flags.metrics_address, kVersion, [&metrics] {
                                               return std::string(metrics.attached.Value() > 0 ? "" : "no coordinator");
                                             }}));
    monitor->Add(metrics.registry);
    spdlog::info("metrics on port {}", monitor->port());
  }

  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<GrpcStages> stages, StagesOf(flags));
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<kernels::cuda::Communicators> communicators,
                       CommunicatorsOf(flags, gpu.get()));
  BlobClient blobs(channel);
  Agent::Options options;
  options.kernels = kernels::FindKernels(flags.kernels);
  options.arithmetic = flags.arithmetic;
  options.threads = flags.threads;
  options.gpu = gpu.get();
  options.max_rows = flags.max_rows != 0 ? flags.max_rows : gpu != nullptr ? kGpuPassRows : model::kPassRows;
  options.memory_bytes = static_cast<int64_t>(memory_bytes);
  options.stages = stages.get();
  options.communicators = communicators.get();
  Agent agent(options, &cache, &blobs, &blobs, base::SystemClock(), &metrics);
  const v1::Attach attach =
      AttachOf(flags, gpu.get(), memory_bytes, agent.threads(), stages.get(), communicators.get());
  Connection connection({attach}, channel, &agent, &blobs, &metrics);
  spdlog::info("qzo-worker {} for {}: {}, {}, {} threads, {} of memory", kVersion, flags.endpoint.server, attach.kind(),
               attach.variant(), agent.threads(), base::HumanBytes(memory_bytes));
  if (stages != nullptr) {
    spdlog::info("stages of pipelines at {}, rows by {}", stages->address(),
                 communicators == nullptr
                     ? "gRPC"
                     : absl::StrCat("NCCL ", communicators->version(), " where it is the same at both ends"));
  }
  std::optional<ServingConnection> serving;
  if (flags.max_texts > 0) {
    ServingConnection::Options serve;
    serve.hello.set_worker(flags.name);
    serve.hello.set_slots(flags.max_texts);
    serving.emplace(serve, channel, agent.serving());
  }
  signals.Arm([&connection] { connection.Drain(); });
  connection.Run();
  if (serving) serving->Leave();
  signals.Disarm();
  return agent.lost();
}

}  // namespace qzo::worker
