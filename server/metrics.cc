#include "server/metrics.h"

#include <utility>

namespace qzo::server {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Registry;
using Buckets = Histogram::BucketBoundaries;

const Buckets kStepSeconds = {.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30};
const Buckets kWaitSeconds = {1, 5, 15, 60, 300, 900, 3600, 14400};
const Buckets kCommitSeconds = {.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1};

Counter& One(Registry& registry, const char* name, const char* help) {
  return BuildCounter().Name(name).Help(help).Register(registry).Add({});
}
Family<Counter>& Counters(Registry& registry, const char* name, const char* help) {
  return BuildCounter().Name(name).Help(help).Register(registry);
}
Family<Gauge>& Gauges(Registry& registry, const char* name, const char* help) {
  return BuildGauge().Name(name).Help(help).Register(registry);
}
Histogram& OneHistogram(Registry& registry, const char* name, const char* help, const Buckets& buckets) {
  return BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

}  // namespace

Metrics::Metrics(std::shared_ptr<Registry> r)
    : jobs_submitted(One(*r, "qzo_jobs_submitted_total", "Jobs created")),
      jobs(Gauges(*r, "qzo_jobs", "Jobs that have not ended")),
      jobs_finished(Counters(*r, "qzo_jobs_finished_total", "Jobs that have ended")),
      job_queue_wait(OneHistogram(*r, "qzo_job_queue_wait_seconds", "From creation to the first step", kWaitSeconds)),
      steps(One(*r, "qzo_steps_total", "Steps committed")),
      step_duration(
          OneHistogram(*r, "qzo_step_duration_seconds", "From a step's plan to its durability", kStepSeconds)),
      step_collect_wait(
          OneHistogram(*r, "qzo_step_collect_wait_seconds", "From a step's first answer to its last", kStepSeconds)),
      contributions(Counters(*r, "qzo_contributions_total", "Items answered by workers, by what became of them")),
      workers(Gauges(*r, "qzo_workers", "Workers attached")),
      worker_disconnects(Counters(*r, "qzo_worker_disconnects_total", "Worker streams that ended")),
      pipelines_formed(One(*r, "qzo_pipelines_formed_total", "Times that workers were put together to hold a model")),
      pipelines_lost(Counters(*r, "qzo_pipelines_lost_total", "Pipelines that ended before their jobs did")),
      payload_down_bytes(One(*r, "qzo_step_payload_down_bytes_total", "Step messages to workers, serialized")),
      payload_up_bytes(One(*r, "qzo_step_payload_up_bytes_total", "Step results from workers, serialized")),
      journal_entries(One(*r, "qzo_journal_entries_total", "Journal entries made durable")),
      journal_bytes(One(*r, "qzo_journal_bytes_total", "What they hold: 8 bytes a probe")),
      journal_commit_duration(OneHistogram(*r, "qzo_journal_commit_duration_seconds",
                                           "From an entry's submission to its durability", kCommitSeconds)),
      store_errors(Counters(*r, "qzo_store_errors_total", "Store operations that failed")),
      audit_unstored(Counters(*r, "qzo_audit_unstored_total", "Audit records that are in the server's log alone")),
      divergence(One(*r, "qzo_divergence_total", "Replica digests that differed: must stay 0")),
      registry(std::move(r)) {
  // A rate sees the first of a kind only if there was a zero before it.
  for (const char* outcome : {"succeeded", "failed", "cancelled"}) jobs_finished.Add({{"outcome", outcome}});
  for (const char* result : {"accepted", "late", "duplicate", "non_finite", "mismatch"}) {
    contributions.Add({{"result", result}});
  }
  for (const char* reason : {"closed", "lost", "protocol"}) worker_disconnects.Add({{"reason", reason}});
  for (const char* cause : {"worker_gone", "worker_left", "link", "trouble", "late"}) {
    pipelines_lost.Add({{"cause", cause}});
  }
  for (const char* op : {"append_step", "update_job"}) store_errors.Add({{"op", op}});
}

}  // namespace qzo::server
