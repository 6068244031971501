#include "server/flags.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/address.h"
#include "base/arguments.h"
#include "server/credentials.h"

namespace qzo::server {
namespace {

std::string DataHome() {
  if (const char* xdg = std::getenv("XDG_DATA_HOME"); xdg != nullptr && *xdg != '\0') return xdg;
  const char* home = std::getenv("HOME");
  return absl::StrCat(home == nullptr ? "/var/lib" : home, home == nullptr ? "" : "/.local/share");
}

// CLI11 wants "" for a good value and a message for a bad one.
std::string CheckAddress(const std::string& address) {
  if (address.starts_with("unix:") && address.size() > 5) return "";
  const size_t colon = address.rfind(':');
  int port = -1;
  if (colon != std::string::npos && colon > 0 && CLI::detail::lexical_cast(address.substr(colon + 1), port) &&
      port >= 0 && port <= 65535) {
    return "";
  }
  return absl::StrCat("'", address, "': expected host:port");
}

std::string CheckOptionalAddress(const std::string& address) { return address.empty() ? "" : CheckAddress(address); }

// CLI11 wants an exception that names the flag.
void CheckListeners(const Server::Options& server, bool metrics_open) {
  if (server.metrics_secured && server.admin_token_file.empty()) {
    throw CLI::ValidationError("--metrics-secured", "needs --admin-token-file: without it there are no tokens");
  }
  const auto check = [](const char* flag, const absl::Status& status) {
    if (!status.ok()) throw CLI::ValidationError(flag, std::string(status.message()));
  };
  const auto listening = [&](const std::string& address) {
    return ListenOptions{address, server.insecure, server.tls, !server.admin_token_file.empty()};
  };
  check("--listen", CheckListen(listening(server.listen)));
  if (!server.page_address.empty()) check("--page-address", CheckListen(listening(server.page_address)));
  if (server.metrics_address.empty()) return;
  check("--metrics-address",
        base::CheckMetricsAddress(server.metrics_address, metrics_open || server.insecure ||
                                                              (server.metrics_secured && !server.tls.cert.empty())));
}

}  // namespace

std::optional<Flags> ParseFlags(int argc, const char* const* argv, int* exit_code) {
  Flags flags;
  CLI::App app("qzo-server: coordinates fine-tuning jobs over workers.", "qzo-server");
  app.option_defaults()->always_capture_default();
  app.set_version_flag("--version", QZO_VERSION);
  const auto add = [&app](const char* flag, const char* variable, auto& value, const char* help) {
    return app.add_option(flag, value, help)->envname(variable);
  };
  Server::Options& server = flags.server;
  add("--listen", "QZO_LISTEN", server.listen, "address for clients and workers, host:port")->check(CheckAddress);
  add("--data-dir", "QZO_DATA_DIR", server.data_directory, "jobs, journals and files; on a local disk");
  add("--metrics-address", "QZO_METRICS_ADDRESS", server.metrics_address,
      "serve Prometheus metrics here; empty = not at all")
      ->check(CheckOptionalAddress);
  bool metrics_open = false;
  app.add_flag("--metrics-open", metrics_open, "allow metrics, which are clear text for everyone, beyond this machine")
      ->envname("QZO_METRICS_OPEN");
  app.add_flag("--metrics-secured", server.metrics_secured,
               "serve metrics over TLS, with --tls-cert, and to tokens that may view every project alone")
      ->envname("QZO_METRICS_SECURED");
  add("--metrics-jobs", "QZO_METRICS_JOBS", server.metrics_jobs, "jobs, at most, that have metrics of their own")
      ->check(CLI::Range(0, 1000));
  CLI::Option* const page =
      add("--page-address", "QZO_PAGE_ADDRESS", server.page_address,
          "serve the status page here, to those with tokens; empty = not at all; 127.0.0.1:7080 with --dev")
          ->check(CheckOptionalAddress);
  add("--tls-cert", "QZO_TLS_CERT", server.tls.cert, "certificate of this server: serve TLS");
  add("--tls-key", "QZO_TLS_KEY", server.tls.key, "key of that certificate");
  add("--tls-client-ca", "QZO_TLS_CLIENT_CA", server.tls.ca, "authorities of clients' and workers' certificates");
  add("--admin-token-file", "QZO_ADMIN_TOKEN_FILE", server.admin_token_file,
      "callers need tokens, or certificates; this file holds an administrator's, and is made when it is not there");
  add("--max-calls-per-second", "QZO_MAX_CALLS_PER_SECOND", server.calls_per_second,
      "of one token or certificate; 0 = any")
      ->check(CLI::NonNegativeNumber);
  add("--max-open-calls", "QZO_MAX_OPEN_CALLS", server.open_calls, "of one token or certificate at once; 0 = any")
      ->check(CLI::NonNegativeNumber);
  const auto bytes = [](CLI::Option* option) { return option->transform(CLI::AsSizeValue(/*kb_is_1000=*/true)); };
  bytes(add("--max-open-bytes", "QZO_MAX_OPEN_BYTES", server.open_bytes,
            "of requests of one token or certificate at once, as 256MiB; 0 = any"));
  bytes(add("--max-project-bytes", "QZO_MAX_PROJECT_BYTES", server.project_bytes,
            "that a project's datasets, models and adapters may come to, as 1TiB; 0 = any"));
  add("--max-project-jobs", "QZO_MAX_PROJECT_JOBS", server.project_jobs, "of a project that have not ended; 0 = any")
      ->check(CLI::NonNegativeNumber);
  double audit_days = absl::ToDoubleHours(server.audit_kept) / 24;
  add("--audit-days", "QZO_AUDIT_DAYS", audit_days, "that audit records are kept")->check(CLI::Range(0.0, 36'500.0));
  add("--audit-records", "QZO_AUDIT_RECORDS", server.audit_records, "that are kept at most")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 40));
  app.add_flag("--insecure", server.insecure, "allow clear text and no authentication beyond this machine")
      ->envname("QZO_INSECURE");
  app.add_flag("--reflection", server.reflection, "let tools ask for the API's description")->envname("QZO_REFLECTION");
  add("--import-model", "QZO_IMPORT_MODEL", server.import_models,
      "model file or directory to register as projects/default/models/ITS-NAME; repeatable")
      ->check(CLI::ExistingPath);
  app.add_option("--backup", flags.backup,
                 "copy the data directory there, whether or not a server uses it, and end; serve nothing");
  CLI::Option* const dev =
      app.add_flag("--dev", flags.dev, "also run a worker on this machine, and end it with the server")
          ->envname("QZO_DEV");
  app.get_option("--tls-cert")->excludes(dev);  // its worker knows no authority
  add("--dev-worker-threads", "QZO_DEV_WORKER_THREADS", flags.dev_worker_threads,
      "compute threads of that worker; 0 = all")
      ->check(CLI::Range(0, 1024));
  add("--log-level", "QZO_LOG_LEVEL", flags.log_level, "least severity")
      ->check(CLI::IsMember({"debug", "info", "warn", "error", "off"}));
  add("--log-format", "QZO_LOG_FORMAT", flags.log_format, "of lines on stderr")->check(CLI::IsMember({"text", "json"}));
  try {
    app.parse(base::ArgumentsForCli(argc, argv));
    if (flags.dev && page->empty()) server.page_address = "127.0.0.1:7080";
    server.audit_kept = absl::Hours(24 * audit_days);
    CheckListeners(server, metrics_open);
  } catch (const CLI::ParseError& error) {
    *exit_code = app.exit(error) == 0 ? 0 : 2;
    return std::nullopt;
  }
  if (server.data_directory.empty())
    server.data_directory = absl::StrCat(DataHome(), flags.dev ? "/qzo/dev" : "/qzo/server");
  return flags;
}

Supervisor::Options DevWorker(const Flags& flags, const std::string& address) {
  std::error_code ignored;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", ignored);
  Supervisor::Options options;
  options.program = (self.parent_path() / "qzo-worker").string();
  const auto pass = [&options](const char* flag, const std::string& value) {
    options.arguments.insert(options.arguments.end(), {flag, value});
  };
  pass("--server", address);
  pass("--name", "dev");
  pass("--threads", absl::StrCat(flags.dev_worker_threads));
  pass("--log-level", flags.log_level);
  pass("--log-format", flags.log_format);
  pass("--metrics-address", "");  // the environment's is the server's
  for (const std::string& model : flags.server.import_models) {
    pass("--model", model);  // used where it lies instead of fetched
  }
  if (!flags.server.admin_token_file.empty()) pass("--token-file", flags.server.admin_token_file);
  if (flags.server.insecure) options.arguments.push_back("--insecure");
  return options;
}

}  // namespace qzo::server
