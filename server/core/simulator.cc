#include "server/core/simulator.h"

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/log.h"

namespace qzo::server::core {
namespace {

constexpr uint64_t kFreshDigest = 42;

uint64_t Mix(std::initializer_list<uint64_t> values) {
  std::string bytes;
  for (const uint64_t v : values) bytes.append(reinterpret_cast<const char*>(&v), sizeof v);
  return base::Xxh3(bytes);
}

// Stands for the multipliers: everything that was ever applied, in order.
uint64_t Applied(uint64_t digest, const std::vector<float>& coefficients) {
  for (const float c : coefficients) digest = Mix({digest, std::bit_cast<uint32_t>(c)});
  return digest;
}

uint64_t DigestAt(const std::vector<method::StepRecord>& journal, uint32_t step) {
  uint64_t digest = kFreshDigest;
  for (uint32_t t = 0; t < step; ++t) digest = Applied(digest, journal[t].coefficients);
  return digest;
}

// An item is a pure function of the multipliers, the job and the item.
method::ItemLosses Measure(uint64_t job_seed, uint64_t digest, uint32_t step, uint32_t item, bool non_finite) {
  const uint64_t bits = Mix({job_seed, digest, step, item});
  if (non_finite && bits % 97 == 0) return {std::numeric_limits<double>::quiet_NaN(), 1, 4};
  return {1 + static_cast<double>(bits % 1000) / 1000, 1 + static_cast<double>(bits / 1000 % 1000) / 1000, 4};
}

model::EvalSums Evaluate(uint64_t job_seed, uint64_t digest, uint32_t step, Split split, uint32_t item) {
  const uint64_t bits = Mix({job_seed, digest, step, static_cast<uint64_t>(split), item, 7});
  return {static_cast<double>(bits % 1000) / 100, 8, 8, {4, 1, 2, 1}};
}

uint64_t JobSeed(const SimulatorOptions& options, size_t job) { return Mix({options.seed, job, 11}); }

bool SameRecord(const method::StepRecord& a, const method::StepRecord& b) {
  const auto same = [](const std::vector<float>& x, const std::vector<float>& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(),
                      [](float p, float q) { return std::bit_cast<uint32_t>(p) == std::bit_cast<uint32_t>(q); });
  };
  return a.step == b.step && same(a.d, b.d) && same(a.coefficients, b.coefficients);
}

// The digests of a pipeline's stages add up to that of the whole.
uint64_t StageDigest(uint64_t whole, const Stage& stage) {
  if (stage.next != 0) return Mix({whole, stage.index});
  uint64_t digest = whole;
  for (uint32_t i = 0; i < stage.index; ++i) digest -= Mix({whole, i});
  return digest;
}

// Small enough that two workers of kSmallMemory hold it between them, too large for one.
constexpr int64_t kSmallMemory = 60, kLargeMemory = 200;
ModelShape RandomShape(std::mt19937_64* random) {
  ModelShape shape{.embedding_bytes = 4, .head_bytes = 4, .head_cost = 1, .stage_bytes = 2};
  const uint64_t layers = 6 + (*random)() % 3;
  for (uint64_t l = 0; l < layers; ++l) {
    shape.layers.push_back({10 + static_cast<int64_t>((*random)() % 3), 1 + static_cast<double>((*random)() % 3)});
  }
  shape.whole_bytes = PipelineBytes(shape, 1);
  return shape;
}

}  // namespace

uint64_t Simulator::WorkerReplica::OwnDigest() const { return stage ? StageDigest(digest, *stage) : digest; }

Simulator::Simulator(const SimulatorOptions& options)
    : options_(options), random_(options.seed), workers_(static_cast<size_t>(options.workers)) {
  if (options.pipelines) {
    for (Worker& worker : workers_) {
      const uint64_t size = random_() % 4;
      worker.memory = size == 0 ? 0 : size == 1 ? kLargeMemory : kSmallMemory;
    }
    workers_.back().kind = random_() % 3 == 0 ? "b" : "a";
    workers_.back().stages = random_() % 3 != 0;
  }
  for (int j = 0; j < options.jobs; ++j) {
    Books books;
    JobConfig& config = books.config;
    config.project = absl::StrCat("p", j % 2);
    config.method.steps = options.steps;
    config.method.probes = 1 + static_cast<uint32_t>(random_() % 4);
    config.method.micro_batches = 1u << (random_() % 2);
    config.method.seed = JobSeed(options, static_cast<size_t>(j));
    config.priority = static_cast<int32_t>(random_() % 2);
    config.min_workers = 1 + static_cast<uint32_t>(random_() % 2);
    config.eval_steps = static_cast<uint32_t>(random_() % 5);
    config.patience = random_() % 3 == 0 ? 2 : 0;
    config.snapshot_steps = 5;
    config.validation_items = static_cast<uint32_t>(random_() % 4);
    config.test_items = static_cast<uint32_t>(random_() % 3);
    if (options.pipelines && random_() % 2 == 0) {
      config.shape = RandomShape(&random_);
      config.base_model = absl::StrCat(j);
      config.stages = std::array<uint32_t, 4>{0, 0, 2, 3}[random_() % 4];
      // Four workers are enough for that many.
      if (config.stages != 2 || workers_.back().kind == "b" || !workers_.back().stages) config.min_workers = 1;
    }
    store_.push_back(std::move(books));
  }
}

Simulator::Books Simulator::Undisturbed(const JobConfig& config, uint64_t job_seed, bool non_finite) {
  Books books;
  books.config = config;
  for (;;) {
    const auto steps = static_cast<uint32_t>(books.journal.size());
    const Next next = NextOf(config, steps, books.evaluations);
    if (const auto* finish = std::get_if<FinishNext>(&next)) {
      books.result = SaveResult{0, finish->step, finish->replica_digest};
      return books;
    }
    if (const auto* evaluate = std::get_if<EvaluateNext>(&next)) {
      EvaluationRecord record{evaluate->step, evaluate->split, {}, DigestAt(books.journal, evaluate->step)};
      for (uint32_t i = 0; i < evaluate->items; ++i) {
        record.sums.Merge(Evaluate(job_seed, record.replica_digest, evaluate->step, evaluate->split, i));
      }
      books.evaluations.push_back(std::move(record));
      continue;
    }
    const uint64_t digest = DigestAt(books.journal, steps);
    method::StepRecord record{steps, {}, {}};
    for (uint32_t p = 0; p < config.method.probes; ++p) {
      std::vector<method::ItemLosses> losses;
      for (uint32_t m = 0; m < config.method.micro_batches; ++m) {
        losses.push_back(Measure(job_seed, digest, steps, p * config.method.micro_batches + m, non_finite));
      }
      record.d.push_back(method::ProjectedGradient(losses, config.method.epsilon));
    }
    record.coefficients = method::Coefficients(config.method, steps, record.d, &books.rule);
    books.journal.push_back(std::move(record));
  }
}

void Simulator::At(absl::Duration time, std::function<void()> what) {
  queue_.push({std::max(time, now_), order_++, std::make_shared<std::function<void()>>(std::move(what))});
}

absl::Duration Simulator::Soon(double mean_ms) {
  return absl::Milliseconds(std::exponential_distribution<double>(1 / mean_ms)(random_) + 0.001);
}

bool Simulator::Chance(double p) { return std::uniform_real_distribution<double>(0, 1)(random_) < p; }

void Simulator::Broke(const std::string& what) {
  if (broke_.empty()) broke_ = absl::StrCat("seed ", options_.seed, ", at ", absl::FormatDuration(now_), ": ", what);
}

void Simulator::StartCoordinator() {
  ++incarnation_;
  core_ = std::make_unique<Pipelines>(CoreOptions{.prepare_timeout = absl::Seconds(30),
                                                  .trouble_backoff = absl::Milliseconds(50),
                                                  .store_retry = absl::Milliseconds(30),
                                                  .least_deadline = absl::Milliseconds(200),
                                                  .first_deadline = absl::Seconds(2),
                                                  .trouble_limit = 50});
  handles_.clear();
  attached_.clear();
  wire_.clear();
  links_.clear();
  occupied_.clear();
  for (size_t j = 0; j < store_.size(); ++j) {
    if (store_[j].result) continue;
    const JobHandle handle = next_handle_++;
    handles_[handle] = j;
    uint32_t run = 0;
    for (auto r = store_[j].journal.rbegin(); r != store_[j].journal.rend(); ++r, ++run) {
      if (std::none_of(r->d.begin(), r->d.end(), [](float d) { return std::isnan(d); })) break;
    }
    Deliver(JobAdded{handle,
                     store_[j].config,
                     {static_cast<uint32_t>(store_[j].journal.size()), store_[j].rule, run, store_[j].evaluations,
                      store_[j].paused}});
  }
  for (size_t w = 0; w < workers_.size(); ++w) {
    workers_[w].handle = 0;
    if (workers_[w].alive)
      At(now_ + Soon(20), [this, w, i = incarnation_] {
        if (i == incarnation_) Attach(w);
      });
  }
  const auto tick = [this, i = incarnation_](auto& self) -> void {
    if (i != incarnation_) return;
    Deliver(Tick{});
    At(now_ + absl::Milliseconds(20), [self]() mutable { self(self); });
  };
  At(now_ + absl::Milliseconds(20), [tick]() mutable { tick(tick); });
}

void Simulator::Attach(size_t w) {
  Worker& worker = workers_[w];
  if (!worker.alive || worker.handle != 0) return;
  worker.handle = next_worker_++;
  worker.replicas.clear();
  attached_[worker.handle] = w;
  Deliver(WorkerAttached{worker.handle, worker.kind, worker.memory, worker.stages});
}

void Simulator::Deliver(const Event& event) {
  std::vector<Action> actions;
  core_->Handle(event, now_, &actions);
  ++delivered_;
  for (const Action& action : actions) Carry(action);
}

void Simulator::ToWorker(WorkerHandle handle, std::function<void(size_t, Worker&)> what) {
  absl::Duration& last = wire_[handle];
  last = std::max(last, now_) + Soon(1);
  At(last, [this, handle, what = std::move(what), i = incarnation_] {
    const auto it = attached_.find(handle);
    // A dead worker may still count as attached when its successor comes: what was sent to the one is lost to the
    // other.
    if (i != incarnation_ || it == attached_.end() || workers_[it->second].handle != handle) return;
    what(it->second, workers_[it->second]);
  });
}

void Simulator::Reply(WorkerHandle worker, absl::Duration delay, Event event) {
  At(now_ + delay, [this, worker, event = std::move(event), i = incarnation_] {
    if (i == incarnation_ && attached_.contains(worker)) Deliver(event);
  });
}

// The stages that are still open say so, each when it notices.
void Simulator::Break(uint64_t pipeline) {
  Links& links = links_[pipeline];
  if (std::exchange(links.broken, true)) return;
  for (const auto& [index, handle] : links.open) {
    At(now_ + Soon(4), [this, pipeline, handle = handle, i = incarnation_] {
      const auto it = attached_.find(handle);
      if (i != incarnation_ || it == attached_.end() || workers_[it->second].handle != handle) return;
      for (const auto& [job, replica] : workers_[it->second].replicas) {
        if (!replica.stage || replica.stage->pipeline != pipeline) continue;
        return Deliver(ReplicaTrouble{handle, job, absl::UnavailableError("the link broke"), pipeline});
      }
    });
  }
}

void Simulator::Open(const OpenReplica& open, size_t job, Worker& worker) {
  if (const auto it = worker.replicas.find(open.job); it != worker.replicas.end() && it->second.stage) {
    Break(it->second.stage->pipeline);
  }
  const uint64_t digest = DigestAt(store_[job].journal, open.step);
  WorkerReplica& replica = worker.replicas[open.job] = {job, open.step, digest, open.stage};
  const uint64_t pipeline = open.stage ? open.stage->pipeline : 0;
  if (Chance(options_.chaos)) {
    worker.replicas.erase(open.job);
    if (pipeline != 0) Break(pipeline);
    const absl::Status status =
        pipeline != 0 ? absl::ResourceExhaustedError("no memory") : absl::UnavailableError("no memory");
    return Reply(open.worker, Soon(3), ReplicaTrouble{open.worker, open.job, status, pipeline});
  }
  if (pipeline == 0) {
    return Reply(open.worker, Soon(10) * worker.slowness, ReplicaReady{open.worker, open.job, open.step, digest});
  }
  Links& links = links_[pipeline];
  if (links.broken) return;  // whoever it would talk to is gone
  links.open[open.stage->index] = open.worker;
  if (links.open.size() < open.stage->count) return;
  for (const auto& [index, handle] : links.open) {
    const WorkerReplica& member = workers_[attached_.at(handle)].replicas.at(open.job);
    Reply(handle, Soon(10) * worker.slowness,
          ReplicaReady{handle, open.job, member.step, member.OwnDigest(), pipeline});
  }
  if (replica.stage->count != links.open.size()) Broke("a pipeline has more stages than it says");
}

void Simulator::Work(const SendWork& work, Worker& worker) {
  const auto it = worker.replicas.find(work.job);
  if (it == worker.replicas.end()) return;  // closed meanwhile
  WorkerReplica& replica = it->second;
  if (!work.coefficients.empty()) {
    replica.digest = Applied(replica.digest, work.coefficients);
    ++replica.step;
  }
  if (replica.step != work.step)
    return Broke(absl::StrCat("work for step ", work.step, " reached a replica at step ", replica.step));
  if (work.item_count == 0) return;
  WorkerHandle answers = work.worker;
  if (replica.stage) {
    const uint64_t pipeline = replica.stage->pipeline;
    Links& links = links_.at(pipeline);
    const uint64_t number = replica.works++;
    if (links.first_item.emplace(number, work.first_item).first->second != work.first_item)
      return Broke("two stages were given different items");
    if (links.broken || ++links.arrived[number] < replica.stage->count) return;
    // Three in a row at one item would rightly be called its fault.
    if (hard_kills_ < 2 && Chance(options_.chaos / 4)) return ++hard_kills_, Break(pipeline);
    answers = links.open.at(replica.stage->count - 1);
  }
  const uint64_t seed = JobSeed(options_, replica.job);
  Event answer;
  if (work.evaluate) {
    EvaluationResults results{answers, work.job, work.step, *work.evaluate, work.first_item, {}, replica.digest};
    for (uint32_t i = 0; i < work.item_count; ++i)
      results.sums.push_back(Evaluate(seed, replica.digest, work.step, *work.evaluate, work.first_item + i));
    answer = std::move(results);
  } else {
    ItemResults results{answers, work.job, work.step, work.first_item, {}, replica.digest};
    for (uint32_t i = 0; i < work.item_count; ++i)
      results.losses.push_back(Measure(seed, replica.digest, work.step, work.first_item + i, options_.non_finite));
    answer = std::move(results);
  }
  const absl::Duration delay = Soon(5) * work.item_count * worker.slowness;
  if (Chance(options_.chaos)) Reply(answers, delay + Soon(5), answer);  // sent twice
  Reply(answers, delay, std::move(answer));
}

void Simulator::Carry(const PipelineFormed& formed) {
  ++formed_;
  const JobConfig& config = store_[JobOf(formed.job)].config;
  if (config.stages != 0 && formed.stages.size() != config.stages) Broke("another number of stages than asked for");
  uint32_t layer = 0;
  std::set<WorkerHandle> members;
  for (const StageHolder& stage : formed.stages) {
    const Worker& worker = workers_[attached_.at(stage.worker)];
    if (stage.layers.first != layer || stage.layers.end <= layer) Broke("stages leave layers out");
    layer = stage.layers.end;
    if (!members.insert(stage.worker).second) Broke("a worker is two stages of one pipeline");
    if (!worker.stages || worker.kind != workers_[attached_.at(formed.stages[0].worker)].kind)
      Broke("a worker is a stage that cannot be");
    int64_t bytes = StageBytes(config.shape, stage.layers);
    for (const auto& [job, held] : occupied_[stage.worker]) bytes += held;
    if (worker.memory != 0 && bytes > worker.memory) Broke("a stage does not fit its worker");
  }
  if (layer != config.shape.layers.size()) Broke("a pipeline lacks the last layers");
}

void Simulator::Carry(const Action& action) {
  if (const auto* open = std::get_if<OpenReplica>(&action)) {
    const size_t job = JobOf(open->job);
    const ModelShape& shape = store_[job].config.shape;
    if (open->step > store_[job].journal.size()) return Broke("a replica is opened past the journal's end");
    if (const auto it = attached_.find(open->worker); it != attached_.end() && !open->stage) {
      if (!HoldsWhole(store_[job].config, workers_[it->second].memory)) Broke("a worker is too small for the whole");
    }
    if (open->stage) occupied_[open->worker][open->job] = StageBytes(shape, open->stage->layers);
    ToWorker(open->worker, [this, open = *open, job](size_t, Worker& worker) { Open(open, job, worker); });
  } else if (const auto* close = std::get_if<CloseReplica>(&action)) {
    occupied_[close->worker].erase(close->job);
    ToWorker(close->worker, [this, close = *close](size_t, Worker& worker) {
      const auto it = worker.replicas.find(close.job);
      if (it == worker.replicas.end()) return;
      const std::optional<Stage> stage = it->second.stage;
      worker.replicas.erase(it);
      if (stage) Break(stage->pipeline);
    });
  } else if (const auto* work = std::get_if<SendWork>(&action)) {
    ToWorker(work->worker, [this, work = *work](size_t, Worker& worker) { Work(work, worker); });
  } else if (const auto* formed = std::get_if<PipelineFormed>(&action)) {
    Carry(*formed);
  } else if (std::holds_alternative<PipelineLost>(action)) {
    ++lost_;
  } else if (const auto* commit = std::get_if<CommitStep>(&action)) {
    const size_t job = JobOf(commit->job);
    const bool fails = Chance(options_.chaos);
    // What is in flight when a coordinator dies may become durable all the same: the store applies it whoever asked,
    // unless a newer coordinator has taken the epoch, which in this world is the incarnation.
    At(now_ + Soon(4), [this, commit = *commit, job, fails, i = incarnation_] {
      absl::Status status;
      if (i != incarnation_) return;
      if (fails) {
        status = absl::ResourceExhaustedError("disk full");
      } else if (commit.record.step != store_[job].journal.size()) {
        return Broke("a step is committed out of order");
      } else {
        store_[job].journal.push_back(commit.record);
        store_[job].rule = commit.state_after;
      }
      if (Chance(options_.chaos / 4)) return StartCoordinator(), void(++crashes_);  // durable, and nobody was told
      Deliver(StepStored{commit.job, commit.record.step, status});
    });
  } else if (const auto* save = std::get_if<SaveEvaluation>(&action)) {
    store_[JobOf(save->job)].evaluations.push_back(save->record);
  } else if (const auto* result = std::get_if<SaveResult>(&action)) {
    const size_t job = JobOf(result->job);
    const bool fails = Chance(options_.chaos);
    At(now_ + Soon(5), [this, result = *result, job, fails, i = incarnation_] {
      if (i != incarnation_) return;
      if (!fails) store_[job].result = result;
      Deliver(ResultSaved{result.job, fails ? absl::ResourceExhaustedError("disk full") : absl::OkStatus()});
    });
  } else if (const auto* changed = std::get_if<StateChanged>(&action)) {
    store_[JobOf(changed->job)].paused = changed->state == JobState::kPaused;
    if (changed->state == JobState::kFailed)
      Broke(absl::StrCat("job failed: ", changed->reason, ": ", changed->message));
  } else if (const auto* observed = std::get_if<Observed>(&action)) {
    if (observed->kind == Observed::Kind::kDivergence || observed->kind == Observed::Kind::kMismatch)
      Broke(observed->message);
  }
}

void Simulator::Disturb() {
  const size_t w = random_() % workers_.size();
  Worker& worker = workers_[w];
  const double what = std::uniform_real_distribution<double>(0, 1)(random_);
  if (what < 0.45) {  // a worker is killed, and a new one takes its place later
    if (!worker.alive || worker.handle == 0) return;
    ++kills_;
    const WorkerHandle handle = worker.handle;
    // Three in a row at one item would rightly be called its fault.
    const bool orderly = hard_kills_ >= 2 || Chance(0.3);
    if (!orderly) ++hard_kills_;
    if (orderly) Deliver(WorkerLeaving{handle});
    worker.alive = false;
    worker.handle = 0;
    for (const auto& [job, replica] : std::exchange(worker.replicas, {})) {
      if (replica.stage) Break(replica.stage->pipeline);
    }
    At(now_ + Soon(10), [this, handle, orderly, i = incarnation_] {
      if (i == incarnation_ && attached_.erase(handle) > 0) Deliver(WorkerDetached{handle, orderly});
    });
    At(now_ + Soon(60), [this, w] {
      workers_[w].alive = true;
      Attach(w);
    });
  } else if (what < 0.6) {
    worker.slowness = Chance(0.5) ? 1 : 20;
  } else if (what < 0.75) {
    ++crashes_;
    StartCoordinator();
  } else {
    const auto it = handles_.begin() == handles_.end()
                        ? handles_.end()
                        : std::next(handles_.begin(), static_cast<long>(random_() % handles_.size()));
    if (it == handles_.end() || !core_->StatusOf(it->first)) return;
    Deliver(JobPaused{it->first});
    At(now_ + Soon(100), [this, job = it->first, i = incarnation_] {
      if (i == incarnation_) Deliver(JobResumed{job});
    });
    // A crash while paused: the pause is in the store, and so somebody must resume it afterwards.
    At(now_ + absl::Seconds(1), [this, j = it->second] {
      for (const auto& [handle, job] : handles_) {
        if (job == j) return Deliver(JobResumed{handle});
      }
    });
  }
}

std::string Simulator::Run() {
  StartCoordinator();
  const auto done = [this] {
    return std::all_of(store_.begin(), store_.end(), [](const Books& b) { return b.result.has_value(); });
  };
  while (!done() && broke_.empty()) {
    if (queue_.empty() || now_ > absl::Minutes(10)) {
      Broke("the jobs do not end");
      break;
    }
    const Scheduled next = queue_.top();
    queue_.pop();
    now_ = next.time;
    (*next.what)();
    if (Chance(options_.chaos)) Disturb();
  }
  for (size_t j = 0; j < store_.size() && broke_.empty(); ++j) {
    const Books expected = Undisturbed(store_[j].config, JobSeed(options_, j), options_.non_finite);
    if (!std::equal(expected.journal.begin(), expected.journal.end(), store_[j].journal.begin(),
                    store_[j].journal.end(), SameRecord)) {
      Broke(absl::StrCat("job ", j, ": the journal differs from an undisturbed run's"));
    } else if (expected.evaluations.size() != store_[j].evaluations.size()) {
      Broke(absl::StrCat("job ", j, ": ", store_[j].evaluations.size(), " evaluations, expected ",
                         expected.evaluations.size()));
    } else if (expected.result->step != store_[j].result->step ||
               expected.result->replica_digest != store_[j].result->replica_digest) {
      Broke(absl::StrCat("job ", j, ": another result"));
    }
  }
  return broke_;
}

}  // namespace qzo::server::core
