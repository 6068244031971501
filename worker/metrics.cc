#include "worker/metrics.h"

#include <utility>

namespace qzo::worker {
namespace {

prometheus::Counter& Counter(prometheus::Registry* registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(*registry).Add({});
}

prometheus::Gauge& Gauge(prometheus::Registry* registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(*registry).Add({});
}

prometheus::Histogram& Seconds(prometheus::Registry* registry, const char* name, const char* help) {
  const prometheus::Histogram::BucketBoundaries bounds = {.001, .0025, .005, .01, .025, .05, .1, .25,
                                                          .5,   1,     2.5,  5,   10,   30,  60};
  return prometheus::BuildHistogram().Name(name).Help(help).Register(*registry).Add({}, bounds);
}

}  // namespace

Metrics::Metrics(std::shared_ptr<prometheus::Registry> owned)
    : registry(std::move(owned)),
      items(Counter(registry.get(), "qzo_worker_items_total", "Training items answered.")),
      item_duration(Seconds(registry.get(), "qzo_worker_item_duration_seconds", "Computing one training item.")),
      tokens(Counter(registry.get(), "qzo_worker_tokens_total", "Tokens read by forward passes, once per lane.")),
      replay_entries(Counter(registry.get(), "qzo_replay_entries_total", "Journal steps applied to new replicas.")),
      replay_duration(Seconds(registry.get(), "qzo_replay_duration_seconds", "From a loaded job to a ready replica.")),
      peak_resident_bytes(
          Gauge(registry.get(), "qzo_worker_peak_resident_memory_bytes", "Largest resident set so far.")),
      memory_limit_bytes(Gauge(registry.get(), "qzo_worker_memory_limit_bytes", "For models and replicas.")),
      troubles(Counter(registry.get(), "qzo_worker_job_troubles_total", "Jobs that could not go on at this worker.")),
      reconnects(Counter(registry.get(), "qzo_worker_reconnects_total", "Streams to a coordinator that broke.")),
      attached(Gauge(registry.get(), "qzo_worker_attached", "1 while a coordinator has the worker.")),
      stage_busy(Counter(registry.get(), "qzo_worker_stage_busy_seconds_total", "Computing the passes of pipelines.")),
      stage_wait(Counter(registry.get(), "qzo_worker_stage_wait_seconds_total",
                         "Waiting for neighbours in pipelines, to receive or to send.")),
      stage_sent_bytes(
          Counter(registry.get(), "qzo_worker_stage_sent_bytes_total", "Sent to the next stages of pipelines.")) {}

}  // namespace qzo::worker
