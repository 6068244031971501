// The composition root: builds everything, owns it, serves it, and takes it down in order. Thread-compatible.
#ifndef QZO_SERVER_SERVER_H_
#define QZO_SERVER_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "proto/tls.h"

namespace qzo::server {

class Server {
 public:
  struct Options {
    std::string listen = "127.0.0.1:7070";           // host:port (port 0: any free one) or unix:path
    std::string data_directory;                      // made when it is not there
    std::string metrics_address = "127.0.0.1:9464";  // "" = none
    bool metrics_secured = false;                    // over TLS where there is, to who may view every project
    int metrics_jobs = 20;                           // jobs with series of their own
    std::string page_address;                        // of the status page; "" = none
    bool insecure = false;                           // clear text or no authentication beyond loopback
    rpc::TlsFiles tls;                               // `ca` issues the certificates of clients
    std::string admin_token_file;                    // made when it is not there; "" = none
    double calls_per_second = 50;                    // of one identity, as of Access::Options
    int open_calls = 64;
    uint64_t open_bytes = uint64_t{256} << 20;
    uint64_t project_bytes = uint64_t{1} << 40;  // that a project may hold; 0 = any
    int project_jobs = 1000;                     // of a project that have not ended; 0 = any
    absl::Duration audit_kept = absl::Hours(90 * 24);
    uint64_t audit_records = 1'000'000;              // kept at most
    absl::Duration stall = absl::Minutes(1);         // that transfers wait for a peer
    absl::Duration handshake = absl::Seconds(20);    // that a connection may take for its beginning
    absl::Duration tls_refresh = absl::Seconds(10);  // how often TLS files are looked at
    bool reflection = false;
    std::vector<std::string> import_models;  // GGUF files to register as projects/default/models/…
    absl::Duration drain_timeout = absl::Seconds(10);
    absl::Duration sign_of_life = absl::Seconds(15);  // longest silence of WatchJob
    absl::Duration housekeeping = absl::Seconds(1);   // how often tokens of open streams are looked at
    const base::Clock* clock = base::SystemClock();
  };

  // Recovers what the data directory holds and serves. Possible errors: FAILED_PRECONDITION (directory in use, address
  // not allowed), INVALID_ARGUMENT (TLS and token files), UNAVAILABLE (address in use), those of the store, the blobs
  // and ImportModel.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Options& options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Health says NOT_SERVING, no new steps, everything submitted is made durable, streams end with UNAVAILABLE, calls in
  // progress get drain_timeout. Idempotent.
  void Stop();

  // Where it can be reached on this machine: host:port or unix:path.
  std::string local_address() const;
  // Of the metrics, on this machine; 0 = none.
  int metrics_port() const;
  // Of the status page, on this machine; 0 = none.
  int page_port() const;

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_SERVER_H_
