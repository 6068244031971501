// What the coordinator costs without a network and without any computing: the real Coordinator over the real
// SqliteStore, with workers that answer at once, each on a thread of its own. The database lies in TMPDIR: its fsync is
// part of the figures.
//
//   qzo_coordinator_bench SECONDS     prints "metric value unit" lines
//
// 1. Fifty jobs share four workers for SECONDS: durable steps per second, and how many of them share a commit.
// 2. The store alone, writing commits of as many steps, in turns with 1.
// 3. One job on one worker: the time from the results of a step to the work of the next, less the time the store took
// to
//    make the step durable, is what the coordinator adds.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "proto/spec_convert.h"
#include "server/coordinator.h"
#include "server/sqlite_store.h"

namespace qzo::server {
namespace {

constexpr int kJobs = 50;
constexpr int kWorkers = 4;
constexpr int kRounds = 5;
constexpr uint32_t kSteps = 2000;          // the longest job of which every step is also an event
constexpr uint32_t kMeasuredSteps = 1900;  // of a job: none ends while it is measured

absl::Duration Now() { return base::SystemClock()->Monotonic(); }
void Sleep(absl::Duration duration) { std::this_thread::sleep_for(absl::ToChronoNanoseconds(duration)); }

struct Interval {
  uint32_t step;
  absl::Duration duration;
};

// Passes everything on and remembers how long each step took to become durable.
class TimedStore final : public Store {
 public:
  explicit TimedStore(Store* store) : store_(store) {}
  void Submit(WriteBatch batch, WriteDone done) override {
    const AppendStep* append = batch.empty() ? nullptr : std::get_if<AppendStep>(&batch.front());
    if (append == nullptr) return store_->Submit(std::move(batch), std::move(done));
    const auto timed = [this, step = append->record.step, done = std::move(done), begin = Now()](absl::Status status) {
      {
        base::MutexLock lock(&mu_);
        commits_.push_back({step, Now() - begin});
      }
      done(std::move(status));
    };
    store_->Submit(std::move(batch), timed);
  }
  std::vector<Interval> commits() {
    base::MutexLock lock(&mu_);
    return commits_;
  }

  absl::StatusOr<StoredResource> Get(const ResourceKey& key) override { return store_->Get(key); }
  absl::StatusOr<StoredResource> GetByUid(std::string_view uid) override { return store_->GetByUid(uid); }
  absl::StatusOr<std::vector<StoredResource>> List(const ListQuery& query) override { return store_->List(query); }
  absl::StatusOr<std::optional<std::string>> ResourceOfRequest(std::string_view kind, std::string_view project,
                                                               std::string_view request_id) override {
    return store_->ResourceOfRequest(kind, project, request_id);
  }
  absl::StatusOr<method::JournalChunk> ReadJournal(std::string_view uid, uint32_t from, uint32_t to) override {
    return store_->ReadJournal(uid, from, to);
  }
  absl::StatusOr<std::vector<StoredEvent>> ReadEvents(std::string_view uid, uint64_t from, int limit) override {
    return store_->ReadEvents(uid, from, limit);
  }
  absl::StatusOr<uint64_t> LastEventSequence(std::string_view uid) override { return store_->LastEventSequence(uid); }
  absl::StatusOr<std::vector<StoredEvaluation>> ReadEvaluations(std::string_view uid) override {
    return store_->ReadEvaluations(uid);
  }
  absl::StatusOr<std::vector<StoredAudit>> ListAudit(const AuditQuery& query) override {
    return store_->ListAudit(query);
  }
  StoreStats Stats() const override { return store_->Stats(); }

 private:
  Store* const store_;
  base::Mutex mu_;
  std::vector<Interval> commits_ ABSL_GUARDED_BY(mu_);
};

// Takes no time over its items. Attached by the constructor, detached by the destructor.
class InstantWorker final : public WorkerStream {
 public:
  InstantWorker(Coordinator* coordinator, const std::string& name) : coordinator_(coordinator) {
    v1::Attach attach;
    attach.set_worker(name);
    attach.set_incarnation(name);
    attach.set_kind("instant");
    const absl::StatusOr<std::string> id = coordinator_->Attach(attach, this);
    QZO_CHECK(id.ok());
    id_ = *id;
    thread_ = std::thread([this] { Run(); });
  }
  ~InstantWorker() override {
    coordinator_->Detach(id_, "closed");
    {
      base::MutexLock lock(&mu_);
      stopping_ = true;
      wake_.SignalOne();
    }
    thread_.join();
  }

  void Send(const v1::CoordinatorMessage& message) override {
    base::MutexLock lock(&mu_);
    if (message.work().item_count() > 0 && message.work().step() > 0) {
      turns_.push_back({message.work().step() - 1, Now() - answered_});
    }
    queue_.push_back(message);
    wake_.SignalOne();
  }
  void Close(const absl::Status& status) override { QZO_CHECK(status.ok()); }

  // From the results of each step to the work of the next. Meaningful for the only worker of the only job.
  std::vector<Interval> turns() {
    base::MutexLock lock(&mu_);
    return turns_;
  }

 private:
  void Run() {
    for (;;) {
      std::vector<v1::CoordinatorMessage> taken;
      {
        base::MutexLock lock(&mu_);
        while (queue_.empty() && !stopping_) wake_.Wait(&mu_);
        if (stopping_) return;
        taken.swap(queue_);
      }
      for (const v1::CoordinatorMessage& message : taken) Answer(message);
    }
  }

  void Answer(const v1::CoordinatorMessage& message) {
    v1::WorkerMessage answer;
    if (message.has_open()) {
      v1::ReplicaReady& ready = *answer.mutable_ready();
      ready.set_job(message.open().job());
      ready.set_step(message.open().step());
      ready.set_digest(1);
    } else if (message.work().item_count() > 0) {
      const v1::Work& work = message.work();
      v1::Results& results = *answer.mutable_results();
      results.set_job(work.job());
      results.set_step(work.step());
      results.set_first_item(work.first_item());
      results.add_counts(16);
      results.set_digest(1);
      for (uint32_t item = work.first_item(); item < work.first_item() + work.item_count(); ++item) {
        results.add_losses(11 + 0.01 * item);
        results.add_losses(11 - 0.01 * (work.step() % 7));
      }
      base::MutexLock lock(&mu_);
      answered_ = Now();
    } else {
      return;
    }
    coordinator_->Receive(id_, answer);
  }

  Coordinator* const coordinator_;
  std::string id_;
  std::thread thread_;

  base::Mutex mu_;
  base::CondVar wake_;
  std::vector<v1::CoordinatorMessage> queue_ ABSL_GUARDED_BY(mu_);
  std::vector<Interval> turns_ ABSL_GUARDED_BY(mu_);
  absl::Duration answered_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

// A data directory, a store and a coordinator.
class Bench {
 public:
  Bench() {
    std::string pattern = (std::filesystem::temp_directory_path() / "qzo-bench-XXXXXX").string();
    QZO_CHECK(::mkdtemp(pattern.data()) != nullptr);
    directory_ = pattern;
    absl::StatusOr<std::unique_ptr<SqliteStore>> store = SqliteStore::Open({.path = directory_ + "/qzo.db"});
    QZO_CHECK(store.ok());
    store_ = *std::move(store);
    timed_ = std::make_unique<TimedStore>(store_.get());
    absl::StatusOr<std::unique_ptr<BlobStore>> blobs = BlobStore::Open(directory_ + "/blobs", base::RealFileSystem());
    QZO_CHECK(blobs.ok());
    blobs_ = *std::move(blobs);
    coordinator_ = std::make_unique<Coordinator>(Coordinator::Options{}, timed_.get(), blobs_.get(),
                                                 base::SystemClock(), &metrics_);
  }
  ~Bench() {
    coordinator_.reset();
    timed_.reset();
    store_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  SqliteStore& store() { return *store_; }
  TimedStore& timed() { return *timed_; }
  Coordinator* coordinator() { return coordinator_.get(); }

  void CreateJobs(int count) {
    method::MethodSpec method;
    method.steps = kSteps;
    for (int i = 0; i < count; ++i) {
      v1::FineTuningJob job;
      job.set_name(absl::StrCat("projects/bench/jobs/j", i));
      *job.mutable_spec()->mutable_method() = rpc::ToProto(method);
      QZO_CHECK(coordinator_->Create(job, {}, "").ok());
    }
  }
  // Waits until `steps` are durable or `limit` has passed.
  void Await(uint64_t steps, absl::Duration limit) {
    const absl::Duration end = Now() + limit;
    while (store_->Stats().steps < steps && Now() < end) Sleep(absl::Milliseconds(5));
  }

 private:
  std::string directory_;
  Metrics metrics_{std::make_shared<prometheus::Registry>()};
  std::unique_ptr<SqliteStore> store_;
  std::unique_ptr<TimedStore> timed_;
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<Coordinator> coordinator_;
};

struct Throughput {
  uint64_t steps = 0;
  uint64_t commits = 0;
  absl::Duration elapsed;

  double steps_per_s() const { return static_cast<double>(steps) / absl::ToDoubleSeconds(elapsed); }
  double steps_per_commit() const { return static_cast<double>(steps) / static_cast<double>(commits); }
  Throughput& operator+=(const Throughput& other) {
    steps += other.steps;
    commits += other.commits;
    elapsed += other.elapsed;
    return *this;
  }
};

Throughput Between(const StoreStats& before, const StoreStats& after, absl::Duration elapsed) {
  return {after.steps - before.steps, after.commits - before.commits, elapsed};
}

Throughput MeasureJobs(absl::Duration duration) {
  Bench bench;
  bench.CreateJobs(kJobs);
  std::vector<std::unique_ptr<InstantWorker>> workers;
  for (int i = 0; i < kWorkers; ++i) {
    workers.push_back(std::make_unique<InstantWorker>(bench.coordinator(), absl::StrCat("w", i)));
  }
  bench.Await(2 * kJobs, absl::Seconds(30));
  const StoreStats before = bench.store().Stats();
  const absl::Duration begin = Now();
  bench.Await(uint64_t{kJobs} * kMeasuredSteps, duration);
  const Throughput result = Between(before, bench.store().Stats(), Now() - begin);
  bench.coordinator()->Stop();
  return result;
}

Throughput MeasureStore(size_t steps_per_commit, absl::Duration duration) {
  Bench bench;
  bench.coordinator()->Stop();
  WriteBatch create;
  for (size_t job = 0; job < steps_per_commit; ++job) {
    const std::string uid = absl::StrCat("job-", job);
    create.push_back(CreateResource{{.key = {"job", "bench", uid}, .uid = uid, .body = std::string(500, 'b')}, ""});
  }
  QZO_CHECK(bench.store().Write(std::move(create)).ok());
  const StoreStats before = bench.store().Stats();
  const absl::Duration begin = Now();
  for (uint32_t step = 0; Now() - begin < duration; ++step) {
    WriteBatch batch;
    for (size_t job = 0; job < steps_per_commit; ++job) {
      batch.push_back(AppendStep{
          absl::StrCat("job-", job), 1, {step, std::vector<float>(8, 0.5f), std::vector<float>(8, 1e-3f)}, {1}});
    }
    QZO_CHECK(bench.store().Write(std::move(batch)).ok());
  }
  return Between(before, bench.store().Stats(), Now() - begin);
}

struct Latency {
  std::vector<double> commit_us;
  std::vector<double> added_us;  // both in ascending order
};

double Quantile(const std::vector<double>& sorted, double q) {
  return sorted[static_cast<size_t>(std::lround(q * static_cast<double>(sorted.size() - 1)))];
}

Latency MeasureLatency(absl::Duration duration) {
  Bench bench;
  bench.CreateJobs(1);
  InstantWorker worker(bench.coordinator(), "w");
  bench.Await(kMeasuredSteps, duration);
  bench.coordinator()->Stop();
  const std::vector<Interval> commits = bench.timed().commits();
  const std::vector<Interval> turns = worker.turns();
  Latency latency;
  for (size_t i = 0; i < std::min(commits.size(), turns.size()); ++i) {
    QZO_CHECK(commits[i].step == turns[i].step);
    latency.commit_us.push_back(absl::ToDoubleMicroseconds(commits[i].duration));
    latency.added_us.push_back(absl::ToDoubleMicroseconds(turns[i].duration - commits[i].duration));
  }
  QZO_CHECK(!latency.added_us.empty());
  std::sort(latency.commit_us.begin(), latency.commit_us.end());
  std::sort(latency.added_us.begin(), latency.added_us.end());
  return latency;
}

int Main(int argc, char** argv) {
  double seconds = 0;
  if (argc != 2 || !absl::SimpleAtod(argv[1], &seconds) || !(seconds > 0)) {
    std::fprintf(stderr, "usage: qzo_coordinator_bench SECONDS\n");
    return 2;
  }
  QZO_CHECK(base::InitLogging("error", "text").ok());
  Throughput jobs;
  Throughput store;
  // Taking turns, because a disk that others use, too, is not as fast in one second as in the next.
  for (int round = 0; round < kRounds; ++round) {
    jobs += MeasureJobs(absl::Seconds(seconds / kRounds));
    const auto group = std::max<size_t>(1, static_cast<size_t>(std::lround(jobs.steps_per_commit())));
    store += MeasureStore(group, absl::Seconds(seconds / kRounds));
  }
  const Latency latency = MeasureLatency(absl::Seconds(seconds / 2));
  std::printf("durable_steps_per_s %.1f of %d jobs on %d instant workers; target: at least 1000\n", jobs.steps_per_s(),
              kJobs, kWorkers);
  std::printf("steps_per_commit %.1f the mean group of these\n", jobs.steps_per_commit());
  std::printf("store_steps_per_s %.1f of the store alone, in groups of that size\n", store.steps_per_s());
  std::printf("ratio %.3f of the two; target: at least 0.5\n", jobs.steps_per_s() / store.steps_per_s());
  std::printf("added_p50_us %.1f from a step's results to the next step's work, without the commit\n",
              Quantile(latency.added_us, 0.5));
  std::printf("added_p99_us %.1f the same, of the slowest hundredth\n", Quantile(latency.added_us, 0.99));
  std::printf("commit_p50_us %.1f of the same %zu steps of one job\n", Quantile(latency.commit_us, 0.5),
              latency.commit_us.size());
  return 0;
}

}  // namespace
}  // namespace qzo::server

int main(int argc, char** argv) { return qzo::server::Main(argc, argv); }
