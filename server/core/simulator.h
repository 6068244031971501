// A seeded world around the real core: workers that come, die, dawdle and come back, alone and as stages of pipelines
// whose links break, a store that is slow, fails and keeps only what it acknowledged or had in flight, coordinators
// that crash, users who pause. Everything a run does follows from its seed. Test support; thread-compatible.
#ifndef QZO_SERVER_CORE_SIMULATOR_H_
#define QZO_SERVER_CORE_SIMULATOR_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/core/pipelines.h"

namespace qzo::server::core {

struct SimulatorOptions {
  uint64_t seed = 0;
  int jobs = 3;
  int workers = 4;
  uint32_t steps = 12;
  double chaos = 0.02;  // chance of a disturbance per delivered event
  bool non_finite = true;
  bool pipelines = true;  // some jobs in stages, some workers too small for a whole model
};

class Simulator {
 public:
  explicit Simulator(const SimulatorOptions& options);
  // Runs until every job has ended. "" when every promise held, else what broke.
  std::string Run();

  // Journal and evaluations of each job as the store holds them, and as one undisturbed worker would have made them.
  struct Books {
    JobConfig config;
    std::vector<method::StepRecord> journal;
    method::RuleState rule;
    std::vector<EvaluationRecord> evaluations;
    bool paused = false;
    std::optional<SaveResult> result;
  };
  const std::vector<Books>& books() const { return store_; }
  static Books Undisturbed(const JobConfig& config, uint64_t job_seed, bool non_finite);
  uint64_t delivered() const { return delivered_; }
  uint64_t crashes() const { return crashes_; }
  uint64_t kills() const { return kills_; }
  uint64_t formed() const { return formed_; }
  uint64_t lost() const { return lost_; }

 private:
  struct WorkerReplica {
    size_t job = 0;
    uint32_t step = 0;
    uint64_t digest = 0;  // of the whole
    std::optional<Stage> stage;
    uint64_t works = 0;  // that came with items
    // What the worker says of it.
    uint64_t OwnDigest() const;
  };
  // What the members of a pipeline have of each other.
  struct Links {
    std::map<uint32_t, WorkerHandle> open;    // stages that are
    std::map<uint64_t, uint32_t> arrived;     // by work: stages that have it
    std::map<uint64_t, uint32_t> first_item;  // which must be the same for all
    bool broken = false;
  };
  struct Worker {
    std::string kind = "a";
    int64_t memory = 0;
    bool stages = true;
    bool alive = true;
    double slowness = 1;
    WorkerHandle handle = 0;  // of its attachment to the present coordinator
    std::map<JobHandle, WorkerReplica> replicas;
  };

  void At(absl::Duration time, std::function<void()> what);
  absl::Duration Soon(double mean_ms);
  bool Chance(double p);
  void StartCoordinator();
  void Attach(size_t worker);
  void Deliver(const Event& event);  // to the present core
  void Carry(const Action& action);
  void Carry(const PipelineFormed& formed);
  void Open(const OpenReplica& open, size_t job, Worker& worker);
  void Work(const SendWork& work, Worker& worker);
  void Break(uint64_t pipeline);
  void Reply(WorkerHandle worker, absl::Duration delay, Event event);
  void ToWorker(WorkerHandle handle, std::function<void(size_t, Worker&)> what);
  void Disturb();
  void Broke(const std::string& what);
  size_t JobOf(JobHandle handle) const { return handles_.at(handle); }

  const SimulatorOptions options_;
  std::mt19937_64 random_;
  absl::Duration now_;
  struct Scheduled {
    absl::Duration time;
    uint64_t order;
    std::shared_ptr<std::function<void()>> what;
    bool operator>(const Scheduled& other) const { return std::tie(time, order) > std::tie(other.time, other.order); }
  };
  std::priority_queue<Scheduled, std::vector<Scheduled>, std::greater<>> queue_;
  uint64_t order_ = 0;

  std::vector<Books> store_;
  std::vector<Worker> workers_;
  std::unique_ptr<Pipelines> core_;
  uint64_t incarnation_ = 0;  // of the coordinator: what an earlier one scheduled is void
  std::map<JobHandle, size_t> handles_;
  JobHandle next_handle_ = 1;
  WorkerHandle next_worker_ = 1;
  std::map<WorkerHandle, size_t> attached_;
  std::map<uint64_t, Links> links_;                                // by pipeline
  std::map<WorkerHandle, std::map<JobHandle, int64_t>> occupied_;  // bytes of stages, as they were given out
  std::map<WorkerHandle, absl::Duration> wire_;  // when the last message to a worker arrives: streams keep their order
  std::string broke_;
  uint64_t delivered_ = 0;
  uint64_t crashes_ = 0;
  uint64_t kills_ = 0;
  uint64_t formed_ = 0;
  uint64_t lost_ = 0;
  int hard_kills_ = 0;  // without goodbye
};

}  // namespace qzo::server::core

#endif  // QZO_SERVER_CORE_SIMULATOR_H_
