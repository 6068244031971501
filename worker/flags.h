// The command line of qzo-worker; QZO_* variables stand in for flags that are not given. The only place that reads
// either.
#ifndef QZO_WORKER_FLAGS_H_
#define QZO_WORKER_FLAGS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/integer.h"
#include "proto/dial.h"

namespace qzo::worker {

inline constexpr char kVersion[] = QZO_VERSION;

struct Flags {
  rpc::Endpoint endpoint;
  std::string name;  // id: lower-case letters, digits and '-'
  int threads = 0;   // 0 = as many as the process may use
  uint64_t memory_bytes = 0;
  std::string cache_directory;
  uint64_t cache_bytes = 0;  // that it may take; 0 = any number
  std::vector<std::string> models;
  std::string device = "auto";  // or "cpu", "cuda"
  kernels::Arithmetic arithmetic = kernels::Arithmetic::kInt16;
  std::string kernels;                   // a supported variant
  int64_t max_rows = 0;                  // 0: by device
  uint32_t max_texts = 8;                // that it serves at once; 0 = it trains only
  std::string stage_address;             // where other workers feed its stages; "" = it is none
  std::string stage_advertise;           // where they reach it, if elsewhere
  std::string stage_tls_name;            // that their certificates bear; "" = their hosts
  std::string stage_transport = "grpc";  // of rows between stages, or "nccl"
  std::string metrics_address;           // "" = none
  std::string log_level = "info";
  std::string log_format = "text";
};

// Nothing when the process is to end with *exit_code: 0 after --help and --version, 2 after a message about a bad flag.
std::optional<Flags> ParseFlags(int argc, const char* const* argv, int* exit_code);

// "Node-7.example" → "node-7-example": an id as the API wants it.
std::string IdFrom(std::string text);

}  // namespace qzo::worker

#endif  // QZO_WORKER_FLAGS_H_
