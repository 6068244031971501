// Texts and scores for callers of InferenceService, written beside training: on the compute thread, a turn of
// everything that is open after a turn of each job. Texts of one model are written together, each under its own
// adapter; adapters that were used last stay ready over the one copy of their base model.
#ifndef QZO_WORKER_SERVING_H_
#define QZO_WORKER_SERVING_H_

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "method/adapter.h"
#include "model/graph/generation_batch.h"
#include "model/tokenizer/text_stream.h"
#include "qzo/v1/inference.pb.h"
#include "worker/fair_queue.h"
#include "worker/job.h"

namespace qzo::worker {

// The worker's half of a stream of Serving. Thread-safe.
class ServingUplink {
 public:
  virtual ~ServingUplink() = default;
  virtual void Send(const v1::ServingMessage& message) = 0;
};

class Serving {
 public:
  struct Options {
    FairQueue* compute = nullptr;
    FairQueue* transfers = nullptr;  // one lane, 0
    BlobSource* blobs = nullptr;
    Workshop workshop = {};
    kernels::Arithmetic arithmetic = kernels::Arithmetic::kInt16;
    absl::Duration replay_slice = absl::Milliseconds(100);
    // Called on the transfer thread.
    std::function<absl::StatusOr<std::shared_ptr<ModelEngine>>(const std::string& digest)> engine_for;
    std::function<int64_t()> mapped_bytes;  // of models
  };
  static constexpr uint64_t kLane = 0;  // of `compute`
  static constexpr size_t kAdaptersKept = 16;
  static constexpr size_t kReplicaBytesKept = size_t{1} << 30;  // theirs together, but for the last: deltas are many

  // What `options` points to must outlive this object, and both queues' threads must have ended before it goes.
  explicit Serving(Options options) : options_(std::move(options)) {}

  // Answers go to `uplink`, which may be gone by then.
  void Receive(const v1::ServingRequest& request, const std::shared_ptr<ServingUplink>& uplink);
  // A stream is gone: so is what it asked for.
  void Forget(const std::shared_ptr<ServingUplink>& uplink);
  // New requests are UNAVAILABLE from here on.
  void Retire();
  // Waits until nothing is open.
  void WaitUntilIdle();

 private:
  // An adapter at work: base model and multipliers.
  struct Tuned {
    std::shared_ptr<ModelEngine> engine;
    std::unique_ptr<model::Replica> replica;  // nullptr: the base model as it is
    std::unique_ptr<model::LaneSource> lane;
  };
  struct Open {
    v1::ServingRequest request;
    std::shared_ptr<ServingUplink> uplink;
    // Set by the transfer thread, then the compute thread's.
    std::shared_ptr<ModelEngine> engine;
    std::shared_ptr<const method::Adapter> adapter;
    model::TaskSpec task;
    v1::Task task_message;
    std::vector<int32_t> prompt;
    std::vector<model::Example> rows;

    std::shared_ptr<Tuned> tuned;
    std::unique_ptr<model::TextStream> text;
    uint32_t tokens = 0;
    v1::ScoreResponse scores;
  };
  using OpenPtr = std::shared_ptr<Open>;
  using Key = std::pair<std::string, std::string>;  // model, adapter
  struct Batch {
    std::shared_ptr<ModelEngine> engine;
    std::unique_ptr<model::GenerationBatch> batch;
    std::map<uint64_t, OpenPtr> texts;
  };

  // On the transfer thread: fetches and tokenizes.
  absl::Status Load(Open* open);
  absl::StatusOr<v1::Task> TaskOf(const Open& open) const;
  absl::Status MakePrompt(Open* open) const;
  absl::Status CheckMemory(const Open& open) const;
  // On the compute thread. True while there is more to do.
  bool Turn();
  // True when the adapter stands where it should; a long journal takes several turns.
  absl::StatusOr<bool> Prepare(Open* open);
  void DropOldReplicas();
  absl::Status Begin(const OpenPtr& open);
  absl::StatusOr<bool> ScoreNext(Open* open);
  void WriteNext(Batch* batch);
  absl::Status SendText(Open* open, const model::GenerationBatch::Progress& progress);

  void End(const OpenPtr& open, const absl::Status& status);
  bool IsOpen(const OpenPtr& open);

  const Options options_;

  // The compute thread's.
  std::list<OpenPtr> preparing_, scoring_;
  std::map<std::string, Batch> batches_;                     // by model
  std::list<std::pair<Key, std::shared_ptr<Tuned>>> tuned_;  // the last one used first

  base::Mutex mu_;
  base::CondVar idle_;
  bool retired_ ABSL_GUARDED_BY(mu_) = false;
  bool turning_ ABSL_GUARDED_BY(mu_) = false;  // a task of `compute` is there
  std::set<OpenPtr> open_ ABSL_GUARDED_BY(mu_);
  std::vector<OpenPtr> arrived_ ABSL_GUARDED_BY(mu_);  // loaded
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_SERVING_H_
