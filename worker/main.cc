// qzo-worker. Exit codes: 0 after a drain, 1 when it cannot start or its device is lost, 2 for bad flags.
#include <cstdio>
#include <optional>

#include "base/log.h"
#include "worker/flags.h"
#include "worker/worker.h"

int main(int argc, char** argv) {
  int exit_code = 0;
  const std::optional<qzo::worker::Flags> flags = qzo::worker::ParseFlags(argc, argv, &exit_code);
  if (!flags) return exit_code;
  absl::Status status = qzo::base::InitLogging(flags->log_level, flags->log_format);
  if (status.ok()) status = qzo::worker::RunWorker(*flags);
  if (status.ok()) return 0;
  std::fprintf(stderr, "qzo-worker: %s\n", status.ToString().c_str());
  return 1;
}
