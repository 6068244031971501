// qzo-server's command line and environment: the only place that reads them.
#ifndef QZO_SERVER_FLAGS_H_
#define QZO_SERVER_FLAGS_H_

#include <optional>
#include <string>

#include "server/server.h"
#include "server/supervisor.h"

namespace qzo::server {

struct Flags {
  Server::Options server;
  std::string log_level = "info";
  std::string log_format = "text";
  bool dev = false;            // start and supervise a worker beside the server
  int dev_worker_threads = 0;  // 0 = all
  std::string backup;          // copy the data directory there and serve nothing; "" = serve
};

// nullopt when there is nothing to run: *exit_code is 0 after --help and --version, 2 after a usage error, which was
// printed.
std::optional<Flags> ParseFlags(int argc, const char* const* argv, int* exit_code);

// The worker of --dev, for a server that listens on `address`: qzo-worker from the directory of this program.
Supervisor::Options DevWorker(const Flags& flags, const std::string& address);

}  // namespace qzo::server

#endif  // QZO_SERVER_FLAGS_H_
