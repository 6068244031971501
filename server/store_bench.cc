// Durable steps per second. The database lies in TMPDIR: the figures are those of that disk's fsync.
#include <benchmark/benchmark.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "server/sqlite_store.h"

namespace qzo::server {
namespace {

constexpr size_t kProbes = 8;

class Bench {
 public:
  explicit Bench(size_t jobs) : next_(jobs, 0) {
    std::string pattern = (std::filesystem::temp_directory_path() / "qzo-bench-XXXXXX").string();
    QZO_CHECK(::mkdtemp(pattern.data()) != nullptr);
    directory_ = pattern;
    auto store = SqliteStore::Open({.path = directory_ + "/qzo.db"});
    QZO_CHECK(store.ok());
    store_ = *std::move(store);
    WriteBatch batch;
    for (size_t job = 0; job < jobs; ++job) {
      StoredResource r;
      r.key = {"job", "bench", absl::StrCat(job)};
      r.uid = Uid(job);
      r.body = std::string(1500, 'b');
      batch.push_back(CreateResource{r, ""});
    }
    QZO_CHECK(store_->Write(batch).ok());
  }
  ~Bench() {
    store_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  SqliteStore& store() { return *store_; }
  AppendStep Step(size_t job) {
    return {Uid(job), 1, {next_[job]++, std::vector<float>(kProbes, 0.5f), std::vector<float>(kProbes, 1e-3f)}, {1.0}};
  }
  void Report(benchmark::State& state, StoreStats before) {
    const StoreStats after = store_->Stats();
    state.SetItemsProcessed(static_cast<int64_t>(after.steps - before.steps));
    state.counters["steps_per_commit"] =
        static_cast<double>(after.steps - before.steps) / static_cast<double>(after.commits - before.commits);
  }

 private:
  static std::string Uid(size_t job) { return absl::StrCat("01890a5d-ac96-774b-bcce-b302099a", 1000 + job); }
  std::string directory_;
  std::unique_ptr<SqliteStore> store_;
  std::vector<uint32_t> next_;
};

// One caller, one commit of range(0) steps of as many jobs after the other.
void StepsInOneBatch(benchmark::State& state) {
  const size_t jobs = static_cast<size_t>(state.range(0));
  Bench bench(jobs);
  const StoreStats before = bench.store().Stats();
  for (auto _ : state) {
    WriteBatch batch;
    for (size_t job = 0; job < jobs; ++job) batch.push_back(bench.Step(job));
    QZO_CHECK(bench.store().Write(std::move(batch)).ok());
  }
  bench.Report(state, before);
}
BENCHMARK(StepsInOneBatch)->Arg(1)->Arg(10)->Arg(50)->Arg(100)->UseRealTime()->Unit(benchmark::kMicrosecond);

// range(0) jobs that each submit their next step as soon as the last one is durable; an iteration is one step of every
// job.
void StepsOfConcurrentJobs(benchmark::State& state) {
  const size_t jobs = static_cast<size_t>(state.range(0));
  Bench bench(jobs);
  const StoreStats before = bench.store().Stats();
  for (auto _ : state) {
    std::mutex mu;
    std::condition_variable all_durable;
    size_t left = jobs;
    for (size_t job = 0; job < jobs; ++job) {
      bench.store().Submit({bench.Step(job)}, [&](const absl::Status& status) {
        QZO_CHECK(status.ok());
        const std::lock_guard<std::mutex> lock(mu);
        if (--left == 0) all_durable.notify_one();
      });
    }
    std::unique_lock<std::mutex> lock(mu);
    all_durable.wait(lock, [&] { return left == 0; });
  }
  bench.Report(state, before);
}
BENCHMARK(StepsOfConcurrentJobs)->Arg(1)->Arg(10)->Arg(100)->Arg(1000)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace qzo::server
