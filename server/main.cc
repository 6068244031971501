#include <future>
#include <iostream>
#include <optional>

#include "base/fs.h"
#include "base/log.h"
#include "base/signals.h"
#include "server/backup.h"
#include "server/flags.h"
#include "server/server.h"
#include "server/supervisor.h"

int main(int argc, char** argv) {
  int exit_code = 0;
  const auto flags = qzo::server::ParseFlags(argc, argv, &exit_code);
  if (!flags) return exit_code;
  if (const absl::Status status = qzo::base::InitLogging(flags->log_level, flags->log_format); !status.ok()) {
    std::cerr << "qzo-server: " << status.message() << "\n";
    return 2;
  }
  if (!flags->backup.empty()) {
    const absl::Status status =
        qzo::server::BackUp(flags->server.data_directory, flags->backup, qzo::base::RealFileSystem());
    if (!status.ok()) std::cerr << "qzo-server: " << status.message() << "\n";
    return status.ok() ? 0 : 1;
  }
  qzo::base::SignalWatch signals;
  const auto server = qzo::server::Server::Start(flags->server);
  if (!server.ok()) {
    std::cerr << "qzo-server: " << server.status().message() << "\n";
    return 1;
  }
  std::optional<qzo::server::Supervisor> worker;
  if (flags->dev) worker.emplace(DevWorker(*flags, (*server)->local_address()));
  std::promise<void> stop;
  signals.Arm([&stop] { stop.set_value(); });
  stop.get_future().wait();
  (*server)->Stop();
}
