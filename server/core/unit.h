// The open unit of work of a job: a training step or an evaluation, cut into items. It knows which items are out with
// whom, takes answers, and says when all are in. Pure; thread-compatible.
#ifndef QZO_SERVER_CORE_UNIT_H_
#define QZO_SERVER_CORE_UNIT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/core/types.h"

namespace qzo::server::core {

inline constexpr int kMaxItemFailures = 3;

// A contiguous range of items that one worker was given in one message.
struct Assignment {
  uint32_t first = 0;
  uint32_t count = 0;
  absl::Duration sent;
};

class Unit {
 public:
  using Answer = std::variant<method::ItemLosses, model::EvalSums>;

  // `evaluate` empty: a training step. `layers` of the model: 0 = not known, and kinds are not compared.
  Unit(uint32_t step, std::optional<Split> evaluate, uint32_t items, absl::Duration now, size_t layers = 0);

  uint32_t step() const { return step_; }
  const std::optional<Split>& evaluate() const { return evaluate_; }
  uint32_t items() const { return static_cast<uint32_t>(items_.size()); }
  absl::Duration planned() const { return planned_; }
  bool complete() const { return done_ == items_.size(); }
  bool Covers(uint32_t first, size_t count) const { return count > 0 && first + count <= items_.size(); }

  // Maximal ranges of items that nobody works on, in order; those that `worker` should not get (its non-finite answer
  // needs a second opinion) are left out when `others` could take them.
  std::vector<std::pair<uint32_t, uint32_t>> Free(WorkerHandle worker, bool others) const;
  void Assign(WorkerHandle worker, uint32_t first, uint32_t count, absl::Duration now);
  // The worker's assignment, if it has one here.
  const Assignment* Of(WorkerHandle worker) const;
  const std::map<WorkerHandle, Assignment>& assignments() const { return assignments_; }
  // Items of an assignment that are still not answered by anybody.
  bool StillNeeded(const Assignment& assignment) const;

  // Takes the worker off; its unanswered items are free again. With `failure` they count an attempt that ended a
  // worker; returns an item that has had too many of those.
  std::optional<uint32_t> Release(WorkerHandle worker, bool failure);

  enum class Verdict : uint8_t { kAccepted, kDuplicate, kMismatch, kAskAgain };
  // One item's answer. kAskAgain: non-finite for the first time; it goes to another worker, or comes back to this one
  // when there is none. kMismatch: an item that was answered already by another worker: by one of the same kind with
  // other bits, or by one of another kind with a loss that lies beyond LossTolerance.
  Verdict Take(WorkerHandle worker, const std::string& kind, uint32_t item, const Answer& answer, absl::Duration now);

  // Of the worker whose answer counts.
  const std::string& KindOf(uint32_t item) const { return items_[item].kind; }

  // Complete only: answers in item order.
  std::vector<method::ItemLosses> Losses() const;
  model::EvalSums Sums() const;
  absl::Duration collect_wait() const { return last_answer_ - first_answer_; }
  uint32_t answering_workers() const;

 private:
  struct Item {
    std::optional<Answer> answer;
    std::string kind;  // of the worker whose answer counts
    WorkerHandle by = 0;
    std::optional<WorkerHandle> suspect;  // gave a non-finite answer that is not confirmed
    int out = 0;                          // workers that hold it
    int failures = 0;
  };

  uint32_t step_;
  std::optional<Split> evaluate_;
  absl::Duration planned_;
  size_t layers_;
  std::vector<Item> items_;
  size_t done_ = 0;
  std::map<WorkerHandle, Assignment> assignments_;
  absl::Duration first_answer_;
  absl::Duration last_answer_;
};

}  // namespace qzo::server::core

#endif  // QZO_SERVER_CORE_UNIT_H_
