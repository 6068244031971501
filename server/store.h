// The store seam: everything that must survive the coordinator. Bodies are opaque bytes (serialized protos); the
// columns are what the store itself needs for keys, order, filters and fences.
//
// Writes go through Submit: a batch is atomic, batches are applied in the order submitted, and many batches share one
// durable transaction (group commit). A batch whose check fails changes nothing and fails alone; the others commit.
// Thread contract: all methods may be called from any thread; `done` is called on the store's writer thread, in order,
// after the batch is durable (or has failed), and must return quickly.
#ifndef QZO_SERVER_STORE_H_
#define QZO_SERVER_STORE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "method/journal.h"

namespace qzo::server {

// kind is "job", "dataset", "model", "adapter" or "token"; (kind, project, id) is the key; uid is unique for ever.
struct ResourceKey {
  std::string kind;
  std::string project;
  std::string id;

  friend auto operator<=>(const ResourceKey&, const ResourceKey&) = default;
};

struct StoredResource {
  ResourceKey key;
  std::string uid;
  int32_t state = 0;       // jobs: the State enum; others 0
  uint64_t epoch = 1;      // jobs: fence of every journal append
  uint32_t next_step = 0;  // jobs: how many steps the journal holds
  std::string body;
  absl::Time create_time;
  absl::Time update_time;
};

struct StoredEvent {
  uint64_t sequence = 0;  // per job, from 1, without gaps
  absl::Time time;
  std::string body;
};

// A call that changed something, or tried to. Texts are short and as they are shown.
struct StoredAudit {
  uint64_t sequence = 0;  // given by the store: ascending, never used again
  absl::Time time;
  std::string project;  // of the resource; "" = none
  std::string caller;
  std::string peer;
  std::string method;
  std::string resource;
  std::string code;
  std::string reason;
};

// --- mutations
// -------------------------------------------------------------------------------------------------------------

// ALREADY_EXISTS when the key is taken. With a request_id that was used before for this kind and project the batch
// fails with ALREADY_EXISTS too, and ResourceOfRequest tells what it made.
struct CreateResource {
  StoredResource resource;
  std::string request_id;  // "" = none; remembered for at least 24 h
};
// NOT_FOUND when there is no such uid, ABORTED when `epoch` is given and is not the stored one.
struct UpdateResource {
  std::string uid;
  std::optional<uint64_t> epoch;
  int32_t state = 0;
  std::string body;
};
// Raises the epoch by one: from now on appends with an older epoch fail. NOT_FOUND.
struct TakeEpoch {
  std::string uid;
};
// Also removes a job's journal, events and evaluations. Succeeds when it is gone already.
struct DeleteResource {
  std::string uid;
};
// The fence: fails with ABORTED unless the job's epoch and next_step are exactly these.
struct AppendStep {
  std::string uid;
  uint64_t epoch = 0;
  method::StepRecord record;
  method::RuleState state_after;
};
struct AppendEvent {
  std::string uid;
  StoredEvent event;
};
// Replaces an earlier one of the same (step, name), so that a repeated evaluation is harmless.
struct PutEvaluation {
  std::string uid;
  uint32_t step = 0;
  std::string name;  // "validation", "test"
  std::string body;
};

struct AppendAudit {
  StoredAudit record;  // but for its sequence
};
// Those with this sequence and all before.
struct ForgetAudit {
  uint64_t through = 0;
};

using Mutation = std::variant<CreateResource, UpdateResource, TakeEpoch, DeleteResource, AppendStep, AppendEvent,
                              PutEvaluation, AppendAudit, ForgetAudit>;
using WriteBatch = std::vector<Mutation>;
using WriteDone = std::function<void(absl::Status)>;

// --- queries
// ---------------------------------------------------------------------------------------------------------------

struct ListQuery {
  std::string kind;
  std::string project;          // "" = all projects
  std::vector<int32_t> states;  // empty = all
  // Newest first. Continue after this (create time, uid), both from the last row of the page before.
  absl::Time before_time = absl::InfiniteFuture();
  std::string before_uid;
  int limit = 50;
};

struct StoredEvaluation {
  uint32_t step = 0;
  std::string name;
  std::string body;
};

// "" = any.
struct AuditQuery {
  std::string project = {};
  std::string caller = {};
  std::string method = {};    // whole, or what follows its last dot
  std::string resource = {};  // it, or what begins with it and a slash
  std::string code = {};
  absl::Time from = absl::InfinitePast();  // inclusive
  absl::Time to = absl::InfiniteFuture();  // exclusive
  uint64_t before = UINT64_MAX;            // sequence; exclusive
  bool oldest_first = false;               // otherwise the newest
  int limit = 50;
};

struct StoreStats {
  uint64_t commits = 0;
  uint64_t batches = 0;
  uint64_t steps = 0;
  uint64_t errors = 0;
};

class Store {
 public:
  virtual ~Store() = default;

  // Never blocks on the disk. RESOURCE_EXHAUSTED goes to `done` when the disk is full: nothing of the batch is lost
  // silently. After an outcome that could not be learned (I/O error in commit) the store re-reads before it answers.
  virtual void Submit(WriteBatch batch, WriteDone done) = 0;
  // Submit and wait.
  absl::Status Write(WriteBatch batch);

  // NOT_FOUND when absent.
  virtual absl::StatusOr<StoredResource> Get(const ResourceKey& key) = 0;
  virtual absl::StatusOr<StoredResource> GetByUid(std::string_view uid) = 0;
  virtual absl::StatusOr<std::vector<StoredResource>> List(const ListQuery& query) = 0;
  // The uid of the resource that this request_id created, if any.
  virtual absl::StatusOr<std::optional<std::string>> ResourceOfRequest(std::string_view kind, std::string_view project,
                                                                       std::string_view request_id) = 0;

  // Steps [from, to) that exist, with the rule's state after the last one returned (its default when none is).
  // DATA_LOSS when a chunk is damaged.
  virtual absl::StatusOr<method::JournalChunk> ReadJournal(std::string_view uid, uint32_t from, uint32_t to) = 0;
  // Events with sequence >= from, ascending, at most `limit`.
  virtual absl::StatusOr<std::vector<StoredEvent>> ReadEvents(std::string_view uid, uint64_t from, int limit) = 0;
  // 0 when there is none.
  virtual absl::StatusOr<uint64_t> LastEventSequence(std::string_view uid) = 0;
  virtual absl::StatusOr<std::vector<StoredEvaluation>> ReadEvaluations(std::string_view uid) = 0;

  virtual absl::StatusOr<std::vector<StoredAudit>> ListAudit(const AuditQuery& query) = 0;

  virtual StoreStats Stats() const = 0;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_STORE_H_
