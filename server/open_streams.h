// The calls that are open as streams, so that they can be ended: those that would go on for ever when the server
// leaves, and all of a caller that is not welcome any more. Thread-safe.
#ifndef QZO_SERVER_OPEN_STREAMS_H_
#define QZO_SERVER_OPEN_STREAMS_H_

#include <grpcpp/server_context.h>

#include <functional>
#include <map>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/tokens.h"

namespace qzo::server {

class OpenStreams {
 public:
  // How long a peer that does not read keeps its stream after it was told to end.
  static constexpr absl::Duration kGrace = absl::Seconds(5);

  struct Stream {
    Identity caller;
    grpc::CallbackServerContext* context = nullptr;  // outlives the entry
    // Called at most once, quickly: the call is to end with this status as soon as what is being written to the peer
    // has gone. It must not call back into this object.
    std::function<void(const absl::Status& why)> end;
    bool endless = false;        // does not come to an end by itself
    bool carries_calls = false;  // ends others with it, for another reason than theirs: it is told after them
  };

  class Entry {
   public:
    Entry(OpenStreams* streams, Stream stream);
    // Afterwards `end` is not running and will not be called.
    ~Entry();
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

   private:
    OpenStreams* const streams_;
  };

  // `clock` must outlive this object.
  explicit OpenStreams(const base::Clock* clock) : clock_(clock) {}

  // The server leaves: endless streams end with UNAVAILABLE, those to come at once.
  void CloseAll();

  // Ends the streams whose caller `welcome` has something against, with what it says. Those that were told so kGrace
  // ago and are still there are broken off.
  void Check(const std::function<absl::Status(const Identity& caller)>& welcome);

 private:
  struct Open {
    Stream stream;
    std::optional<absl::Duration> told_at = std::nullopt;
  };
  void End(Open* open, const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const base::Clock* const clock_;

  base::Mutex mu_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::map<const Entry*, Open> open_ ABSL_GUARDED_BY(mu_);
};

}  // namespace qzo::server

#endif  // QZO_SERVER_OPEN_STREAMS_H_
