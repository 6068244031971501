// The gate of every call: who it is, whether it may, whether it comes too often or brings too much, and an audit record
// when it changes something. Thread-safe.
//
// Credentials are a bearer token, or else a client certificate whose URI is spiffe://{any}/qzo/{role} or
// spiffe://{any}/qzo/{role}/{project}.
#ifndef QZO_SERVER_ACCESS_H_
#define QZO_SERVER_ACCESS_H_

#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/access_rules.h"
#include "server/audit_log.h"
#include "server/open_streams.h"
#include "server/tokens.h"

namespace qzo::server {

// A call from its admission to its end.
class Admission;

class Access {
 public:
  struct Options {
    bool required = false;  // whoever has no credentials is refused; otherwise an administrator
    // Of one identity: calls per second after a burst of 4 seconds' worth, and calls that are open at once. 0 = any.
    // Workers, which share their tokens, have kWorkerShare times as many.
    double calls_per_second = 0;
    int open_calls = 0;
    // What the requests of its open calls may come to together; a stream counts kStreamBytes beside its request.
    uint64_t open_bytes = 0;
  };
  static constexpr int kWorkerShare = 100;
  static constexpr uint64_t kStreamBytes = uint64_t{1} << 20;  // a chunk

  // All must outlive this object.
  Access(const Options& options, Tokens* tokens, AuditLog* audit, OpenStreams* streams, const base::Clock* clock)
      : options_(options), tokens_(tokens), audit_(audit), streams_(streams), clock_(clock) {}

  // Lets a call in that brings such requests. `request` is known at once but for uploads, whose header is to be
  // checked with Admission::CheckHeader. Possible errors: UNAUTHENTICATED, PERMISSION_DENIED, RESOURCE_EXHAUSTED with
  // the time to wait, those of CheckProjects.
  absl::StatusOr<std::shared_ptr<Admission>> Admit(grpc::CallbackServerContext* context,
                                                   const google::protobuf::Descriptor* type,
                                                   const google::protobuf::Message* request);

  // The token of that name opens nothing any more, and the streams that it opened end.
  void Revoke(const std::string& token);

  // Ends the streams whose tokens were revoked or have expired. To be called every second or so.
  void CheckStreams();

  Tokens* tokens() const { return tokens_; }

 private:
  friend class Admission;
  struct Usage {
    double allowance = 0;  // calls that may begin now
    absl::Duration at;     // when that was so
    int open = 0;
    uint64_t bytes = 0;  // of those that are open
  };

  absl::StatusOr<Identity> Identify(const grpc::CallbackServerContext& context) const;
  absl::Status Begin(const Identity& caller, const AccessRule& rule, uint64_t bytes);
  void End(const Identity& caller, const AccessRule& rule, uint64_t bytes);

  const Options options_;
  Tokens* const tokens_;
  AuditLog* const audit_;
  OpenStreams* const streams_;
  const base::Clock* const clock_;

  base::Mutex mu_;
  std::map<std::string, Usage> usage_ ABSL_GUARDED_BY(mu_);  // by UsageName
};

// One thread at a time. Its end is the call's: it must not outlive the call's context.
class Admission {
 public:
  Admission(Access* access, Identity caller, const AccessRule* rule, std::string peer)
      : access_(access), caller_(std::move(caller)), rule_(rule), peer_(std::move(peer)) {}
  ~Admission();
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  const Identity& caller() const { return caller_; }
  // As CheckProjects.
  absl::Status CheckHeader(const google::protobuf::Message& header);
  void set_resource(const std::string& resource) { resource_ = resource; }
  // What became of the call. Calls that end without are CANCELLED.
  void Note(const absl::Status& outcome) { outcome_ = outcome; }
  // The same of a call that is about to be answered; `response` may name what was made. Waits until the record of a
  // change is durable, so that whoever hears of one finds it in the audit log.
  void Conclude(const absl::Status& outcome, const google::protobuf::Message& response);

 private:
  friend class Access;
  StoredAudit Record() const;

  Access* const access_;
  const Identity caller_;
  const AccessRule* const rule_;
  const std::string peer_;
  bool begun_ = false;  // counts
  uint64_t bytes_ = 0;  // as which it does
  bool recorded_ = false;
  std::string resource_;
  absl::Status outcome_ = absl::CancelledError("");
};

}  // namespace qzo::server

#endif  // QZO_SERVER_ACCESS_H_
