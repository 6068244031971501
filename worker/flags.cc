#include "worker/flags.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/address.h"
#include "base/arguments.h"
#include "base/text.h"
#include "kernels/fastest.h"
#include "worker/process.h"

namespace qzo::worker {
namespace {

constexpr size_t kMaxIdLength = 63;

std::string DefaultCacheDirectory() {
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg != nullptr && *xdg != '\0')
    return absl::StrCat(xdg, "/qzo/models");
  const char* home = std::getenv("HOME");
  return absl::StrCat(home == nullptr ? "/tmp" : home, "/.cache/qzo/models");
}

// CLI11 wants "" for a good value and a message for a bad one.
std::string CheckId(const std::string& name) {
  if (!name.empty() && name == IdFrom(name)) return "";
  return absl::StrCat("'", name, "': expected at most ", kMaxIdLength,
                      " lower-case letters, digits and '-', beginning with a letter, ending with a letter or digit");
}

std::string CheckKernels(const std::string& name) {
  if (kernels::FindKernels(name) != nullptr) return "";
  std::vector<std::string> names = {"auto"};
  for (const kernels::Kernels* variant : kernels::AllKernels()) {
    if (variant->supported()) names.emplace_back(variant->name);
  }
  if (std::find(names.begin(), names.end(), name) != names.end()) return "";
  return absl::StrCat("'", name, "' is not available", base::DidYouMean(name, names),
                      "; here are: ", absl::StrJoin(names, ", "));
}

// Where stages listen: "auto" is this machine alone, as long as the coordinator is on it.
absl::Status ResolveStageAddress(Flags* flags) {
  std::string& address = flags->stage_address;
  if (address == "auto") address = base::IsLoopback(flags->endpoint.server) ? "127.0.0.1:0" : "";
  if (address.empty()) {
    if (flags->stage_advertise.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError("--stage-advertise without --stage-address");
  }
  const std::string host = address.substr(0, address.rfind(':'));
  if (flags->stage_advertise.empty() && (host == "0.0.0.0" || host == "[::]")) {
    return absl::InvalidArgumentError(
        absl::StrCat(address, ": other workers need an address; give it as --stage-advertise"));
  }
  if (!flags->endpoint.insecure && flags->endpoint.tls.cert.empty() && !base::IsLoopback(address)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "refusing to listen on ", address,
        ": activations of training data would travel in clear text; pass --tls-cert and --tls-key, or --insecure on a "
        "network that you trust"));
  }
  return absl::OkStatus();
}

absl::Status CheckStageTransport(const Flags& flags) {
  if (flags.stage_transport != "nccl") return absl::OkStatus();
  if (flags.stage_address.empty()) return absl::InvalidArgumentError("nccl without --stage-address");
  if (flags.device == "cpu") return absl::InvalidArgumentError("nccl is between GPUs, not with --device cpu");
  if (flags.endpoint.insecure) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "nccl neither encrypts nor knows who connects, and listens on interfaces of its own choice (NCCL_SOCKET_IFNAME); "
      "pass --insecure on a network that you trust");
}

}  // namespace

std::string IdFrom(std::string text) {
  for (char& c : text) {
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) c = '-';
  }
  const size_t first = text.find_first_of("abcdefghijklmnopqrstuvwxyz");
  text = first == std::string::npos ? "worker" : text.substr(first, kMaxIdLength);
  text.erase(text.find_last_not_of('-') + 1);
  return text;
}

std::optional<Flags> ParseFlags(int argc, const char* const* argv, int* exit_code) {
  Flags flags;
  flags.kernels = "auto";
  flags.stage_address = "auto";
  std::string arithmetic(kernels::ArithmeticName(flags.arithmetic));
  flags.name = IdFrom(absl::StrCat(Hostname().substr(0, 48), "-", ::getpid()));
  flags.memory_bytes = static_cast<uint64_t>(AvailableMemoryBytes());
  flags.cache_directory = DefaultCacheDirectory();

  CLI::App app("qzo-worker: runs the forward passes of fine-tuning jobs for a coordinator.", "qzo-worker");
  app.option_defaults()->always_capture_default();
  app.set_version_flag("--version", kVersion);
  const auto add = [&app](const char* flag, const char* variable, auto& value, const char* help) {
    return app.add_option(flag, value, help)->envname(variable);
  };
  rpc::Endpoint& endpoint = flags.endpoint;
  add("--server", "QZO_SERVER", endpoint.server, "coordinator, host:port");
  add("--tls-ca", "QZO_TLS_CA", endpoint.tls.ca, "authorities of the coordinator's certificate; else the system's");
  add("--tls-cert", "QZO_TLS_CERT", endpoint.tls.cert, "certificate that says who this worker is");
  add("--tls-key", "QZO_TLS_KEY", endpoint.tls.key, "key of that certificate");
  add("--token-file", "QZO_TOKEN_FILE", endpoint.token_file, "holds the secret of a token of role WORKER");
  app.add_flag("--insecure", endpoint.insecure, "allow clear text beyond this machine")->envname("QZO_INSECURE");
  add("--name", "QZO_NAME", flags.name, "name to attach with")->check(CheckId);
  add("--threads", "QZO_THREADS", flags.threads, "compute threads; 0 = all that the process may use")
      ->check(CLI::Range(0, 1024));
  add("--memory", "QZO_MEMORY", flags.memory_bytes, "for models and replicas, as 8GiB or 500MB")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->check(CLI::PositiveNumber);
  add("--cache-dir", "QZO_CACHE_DIR", flags.cache_directory, "models and datasets by digest");
  add("--cache-size", "QZO_CACHE_SIZE", flags.cache_bytes,
      "most that the cache may take, as 200GiB: the longest unused models and datasets are removed for others; 0 = no "
      "limit")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true));
  add("--model", "QZO_MODEL", flags.models, "model file or directory to use where it lies; repeatable")
      ->check(CLI::ExistingPath);
  add("--device", "QZO_DEVICE", flags.device,
      "where forward passes run: cpu, cuda, or auto for the GPU if there is one")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  add("--arithmetic", "QZO_ARITHMETIC", arithmetic,
      "of matrix products on CPUs: part of the kind that this worker reports")
      ->check(CLI::IsMember({"int16", "int8", "fp32"}));
  add("--kernels", "QZO_KERNELS", flags.kernels,
      "kernel variant, or auto for the one that is measured to be the fastest")
      ->check(CheckKernels);
  add("--max-rows", "QZO_MAX_ROWS", flags.max_rows,
      "token rows of one forward pass: more is faster and takes more memory; 0 = 512 on a CPU, 4096 on a GPU")
      ->check(CLI::Range(0, 1 << 20));
  add("--max-texts", "QZO_MAX_TEXTS", flags.max_texts,
      "requests for texts and scores to answer at once, beside training; 0 = none")
      ->check(CLI::Range(0, 1024));
  add("--stage-address", "QZO_STAGE_ADDRESS", flags.stage_address,
      "listen here, host:port, for the workers with which this one holds a model that is too large for one; auto = a "
      "free "
      "port of 127.0.0.1 if the coordinator is on this machine; empty = hold whole models only");
  add("--stage-advertise", "QZO_STAGE_ADVERTISE", flags.stage_advertise,
      "host:port where those workers reach --stage-address, if it is another");
  add("--stage-tls-name", "QZO_STAGE_TLS_NAME", flags.stage_tls_name,
      "name that the certificates of all these workers bear, where hosts have no names of their own");
  add("--stage-transport", "QZO_STAGE_TRANSPORT", flags.stage_transport,
      "how activations travel to and from stages at workers of the same mind: grpc, or nccl from GPU to GPU, which is "
      "clear "
      "text and needs --insecure")
      ->check(CLI::IsMember({"grpc", "nccl"}));
  add("--metrics-address", "QZO_METRICS_ADDRESS", flags.metrics_address,
      "serve Prometheus metrics here, host:port; empty = not at all");
  bool metrics_open = false;
  app.add_flag("--metrics-open", metrics_open, "allow metrics, which are clear text for everyone, beyond this machine")
      ->envname("QZO_METRICS_OPEN");
  add("--log-level", "QZO_LOG_LEVEL", flags.log_level, "least severity")
      ->check(CLI::IsMember({"debug", "info", "warn", "error", "off"}));
  add("--log-format", "QZO_LOG_FORMAT", flags.log_format, "of lines on stderr")->check(CLI::IsMember({"text", "json"}));
  try {
    app.parse(base::ArgumentsForCli(argc, argv));
    if (!flags.metrics_address.empty()) {
      const absl::Status allowed = base::CheckMetricsAddress(flags.metrics_address, metrics_open || endpoint.insecure);
      if (!allowed.ok()) throw CLI::ValidationError("--metrics-address", std::string(allowed.message()));
    }
    if (const absl::Status stages = ResolveStageAddress(&flags); !stages.ok()) {
      throw CLI::ValidationError("--stage-address", std::string(stages.message()));
    }
    if (const absl::Status transport = CheckStageTransport(flags); !transport.ok()) {
      throw CLI::ValidationError("--stage-transport", std::string(transport.message()));
    }
  } catch (const CLI::ParseError& error) {
    *exit_code = app.exit(error) == 0 ? 0 : 2;
    return std::nullopt;
  }
  flags.arithmetic = *kernels::ParseArithmetic(arithmetic);
  if (flags.kernels == "auto") flags.kernels = std::string(kernels::FastestKernels(flags.arithmetic).name);
  return flags;
}

}  // namespace qzo::worker
