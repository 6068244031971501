// The worker's brain: takes the coordinator's messages, keeps a replica per job, answers. Knows no gRPC.
//
// Two threads. The compute thread owns the thread pool and everything that uses it: replays, items, evaluations; in
// order within a job, in turn between jobs. The transfer thread fetches blobs, loads models and data, and sends
// snapshots, so that the network delays no step. A job goes from one to the other once, when it is loaded.
//
// A job in which the worker is a stage of a pipeline has a thread of its own besides, which waits for the neighbours
// and takes turns of the compute thread for what is to be computed.
#ifndef QZO_WORKER_AGENT_H_
#define QZO_WORKER_AGENT_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/communicator.h"
#include "kernels/thread_pool.h"
#include "qzo/v1/worker.pb.h"
#include "worker/fair_queue.h"
#include "worker/job.h"
#include "worker/model_cache.h"
#include "worker/serving.h"
#include "worker/stage.h"
#include "worker/transport.h"

namespace qzo::worker {

// Thread-safe.
class Agent {
 public:
  struct Options {
    const kernels::Kernels* kernels = nullptr;
    kernels::Arithmetic arithmetic = kernels::Arithmetic::kInt16;
    kernels::cuda::Gpu* gpu = nullptr;                      // where passes run, if not on the processor
    int threads = 0;                                        // 0 = all that the process may use
    int64_t max_rows = model::kPassRows;                    // see model::Engine
    int64_t memory_bytes = 0;                               // that model files and replicas may take together
    absl::Duration replay_slice = absl::Milliseconds(100);  // longest turn of a replay while other jobs have work
    StageTransport* stages = nullptr;                       // between workers; nullptr: it can be no stage
    kernels::cuda::Communicators* communicators = nullptr;  // between their GPUs; nullptr: rows travel by `stages`
  };

  // The arguments must outlive the agent.
  Agent(const Options& options, ModelCache* cache, BlobSource* blobs, SnapshotSink* snapshots, const base::Clock* clock,
        Metrics* metrics);
  // A transfer in progress must be ended first, by whoever made `blobs`.
  ~Agent();

  int threads() const { return pool_.threads(); }

  // A stream has begun, or (nullptr) ended. Either way the replicas of the one before are dropped; models stay.
  void Connect(const std::shared_ptr<Uplink>& uplink);
  // The next message of the stream. Quick.
  void Receive(const v1::CoordinatorMessage& message);
  // Sends Leaving, takes no new jobs, and closes the stream when all that was asked is answered.
  void Drain();
  bool draining() const;
  // UNAVAILABLE once the device is lost: the stream then was ended at once, the worker counts as draining, and the
  // process is to end, for only another one can use the device again.
  absl::Status lost() const;

  Serving* serving() { return &serving_; }

 private:
  // A job of the stream. `closed` is set once, by anyone; nothing is sent for it any more.
  struct Slot {
    Slot(uint32_t job_in, uint64_t lane_in, std::shared_ptr<Uplink> uplink_in)
        : job(job_in), lane(lane_in), uplink(std::move(uplink_in)) {}
    ~Slot() {
      if (stage != nullptr) stage->Abort();
    }
    const uint32_t job;
    const uint64_t lane;  // in compute_
    const std::shared_ptr<Uplink> uplink;
    std::atomic<bool> closed{false};
    std::atomic<bool> ready{false};  // the coordinator has been told so
    // Of a stage; constant once the job is open.
    uint64_t pipeline = 0;
    std::shared_ptr<FairQueue> own_queue;  // of its thread
    std::unique_ptr<Stage> stage;
    // Set by the transfer thread before the lane is released, then the compute thread's, or of a stage its own
    // thread's.
    std::unique_ptr<Job> replica;
  };
  using SlotPtr = std::shared_ptr<Slot>;
  using SlotWork = std::function<absl::StatusOr<bool>(Slot*)>;
  struct StageThread {
    std::shared_ptr<FairQueue> queue;
    std::atomic<bool> ended{false};
    std::thread thread;
  };

  void Open(const v1::OpenJob& open);
  // Links to neighbours, and a thread.
  absl::Status OpenStage(const SlotPtr& slot, const v1::StagePlan& plan);
  void StartStageThread(std::shared_ptr<FairQueue> queue);
  void Close(const SlotPtr& slot);
  SlotPtr FindSlot(uint32_t job);
  void DrainFrom(const std::shared_ptr<Uplink>& uplink);

  // On the transfer thread.
  void Load(const SlotPtr& slot, const v1::OpenJob& open);
  absl::StatusOr<std::shared_ptr<ModelEngine>> EngineFor(const std::string& digest, BlobSource* blobs);
  absl::StatusOr<std::shared_ptr<ModelEngine>> StageEngineFor(const std::string& digest, BlobSource* blobs,
                                                              Stage* stage);
  // On the processor or, with a stream of its own for this is not the thread that computes, on the GPU.
  absl::StatusOr<std::shared_ptr<ModelEngine>> MakeEngine(std::shared_ptr<const model::Model> model, int64_t max_rows,
                                                          Stage* stage);
  // `work` runs on the compute thread when the job's turn comes, or on a stage's own, until it returns false; its error
  // ends the job here.
  void Schedule(const SlotPtr& slot, SlotWork work);
  FairQueue& QueueOf(const Slot& slot) { return slot.own_queue == nullptr ? compute_ : *slot.own_queue; }
  bool RunWork(const SlotPtr& slot, const SlotWork& work);
  absl::Status SendSnapshot(Slot* slot);
  // Ends the stream where the device is gone: an error on it then says nothing of the job.
  bool LeaveIfLost();
  // Reports the error unless the job was closed anyway.
  void Fail(const SlotPtr& slot, const absl::Status& status);

  // Constant after construction.
  const Options options_;
  ModelCache* const cache_;  // the transfer thread's
  BlobSource* const blobs_;
  SnapshotSink* const snapshots_;
  Metrics* const metrics_;
  kernels::ThreadPool pool_;  // the compute thread's
  std::atomic<int64_t> replica_bytes_{0};
  const Workshop workshop_;
  std::map<std::string, std::weak_ptr<ModelEngine>> engines_;  // the transfer thread's, by model digest

  mutable base::Mutex mu_;
  std::shared_ptr<Uplink> uplink_ ABSL_GUARDED_BY(mu_);
  std::map<uint32_t, SlotPtr> slots_ ABSL_GUARDED_BY(mu_);
  uint64_t next_lane_ ABSL_GUARDED_BY(mu_) = 1;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status lost_ ABSL_GUARDED_BY(mu_);
  std::list<StageThread> stage_threads_ ABSL_GUARDED_BY(mu_);

  FairQueue compute_;
  FairQueue transfers_;  // one lane
  Serving serving_;
  std::thread compute_thread_;
  std::thread transfer_thread_;
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_AGENT_H_
