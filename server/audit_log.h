// The audit log: every call that changed something, or tried to, as a line of the server's log and as a record of the
// store, which ListAuditRecords shows.
//
// A record that the store does not take (the disk is full, the store is behind) waits in memory, in its turn, and is
// tried again at every Tick; beyond Options::max_waiting, and at the process's end, records are given up, which the log
// and a counter say: the lines are always there. The store may have one twice when the outcome of a write could not be
// learned. Thread-safe.
#ifndef QZO_SERVER_AUDIT_LOG_H_
#define QZO_SERVER_AUDIT_LOG_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>

#include <cstdint>
#include <deque>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/store.h"

namespace qzo::server {

class AuditLog {
 public:
  struct Options {
    // Records are kept for so long, and only so many of them.
    absl::Duration kept = absl::Hours(90 * 24);
    uint64_t max_records = 1'000'000;
    size_t max_waiting = 10'000;
    // Whoever proves nothing could fill the store: more records a second of such calls are lines alone.
    double strangers_per_second = 10;
  };

  // All must outlive this object. `unstored` gets the label `cause`: "store" or "strangers".
  AuditLog(const Options& options, Store* store, const base::Clock* clock,
           prometheus::Family<prometheus::Counter>* unstored);
  // Waits for the store; what it did not take is given up.
  ~AuditLog();
  AuditLog(const AuditLog&) = delete;
  AuditLog& operator=(const AuditLog&) = delete;

  // `call` but for time and project. Texts that callers chose are cut and escaped. Never waits.
  void Add(StoredAudit call) { Enqueue(std::move(call)); }
  // Waits until the record is durable, or a write has failed.
  void AddDurably(StoredAudit call);

  // Tries again what could not be stored, and forgets what is too old or too much, a slice at a time. Reads the store:
  // not for threads that may not wait.
  void Tick();

 private:
  // The record's number, from 1; 0 when it has none.
  uint64_t Enqueue(StoredAudit call);
  void StartWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Written(const absl::Status& status);
  void Forget();

  const Options options_;
  Store* const store_;
  const base::Clock* const clock_;
  prometheus::Counter& unstored_;
  prometheus::Counter& unstored_strangers_;

  base::Mutex mu_;
  base::CondVar changed_;
  std::deque<StoredAudit> waiting_ ABSL_GUARDED_BY(mu_);  // the first `writing_` of them are with the store
  size_t writing_ ABSL_GUARDED_BY(mu_) = 0;
  bool failing_ ABSL_GUARDED_BY(mu_) = false;   // the last write failed
  bool full_ ABSL_GUARDED_BY(mu_) = false;      // there was no room for a record since the last write
  uint64_t accepted_ ABSL_GUARDED_BY(mu_) = 0;  // records ever in waiting_
  uint64_t written_ ABSL_GUARDED_BY(mu_) = 0;   // of which the first so many are durable
  double allowance_ ABSL_GUARDED_BY(mu_);       // calls of strangers that may be stored now
  absl::Duration allowance_at_ ABSL_GUARDED_BY(mu_);
  absl::Duration forget_at_ ABSL_GUARDED_BY(mu_);
};

}  // namespace qzo::server

#endif  // QZO_SERVER_AUDIT_LOG_H_
