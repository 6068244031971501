// The coordinator's Prometheus metrics (docs/metrics.md lists them). Owned, injected, never global. Thread-safe.
#ifndef QZO_SERVER_METRICS_H_
#define QZO_SERVER_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>

#include "absl/time/time.h"

namespace qzo::server {

class Metrics {
 public:
  explicit Metrics(std::shared_ptr<prometheus::Registry> registry);

  prometheus::Counter& jobs_submitted;
  prometheus::Family<prometheus::Gauge>& jobs;             // {state}
  prometheus::Family<prometheus::Counter>& jobs_finished;  // {outcome}
  prometheus::Histogram& job_queue_wait;
  prometheus::Counter& steps;
  prometheus::Histogram& step_duration;
  prometheus::Histogram& step_collect_wait;                     // first item answered to last
  prometheus::Family<prometheus::Counter>& contributions;       // {result}
  prometheus::Family<prometheus::Gauge>& workers;               // {state, device}
  prometheus::Family<prometheus::Counter>& worker_disconnects;  // {reason}
  prometheus::Counter& pipelines_formed;
  prometheus::Family<prometheus::Counter>& pipelines_lost;  // {cause}
  prometheus::Counter& payload_down_bytes;                  // of step messages
  prometheus::Counter& payload_up_bytes;
  prometheus::Counter& journal_entries;
  prometheus::Counter& journal_bytes;
  prometheus::Histogram& journal_commit_duration;           // append submitted to durable
  prometheus::Family<prometheus::Counter>& store_errors;    // {op}
  prometheus::Family<prometheus::Counter>& audit_unstored;  // {cause}
  prometheus::Counter& divergence;                          // replica digest mismatches: must stay 0

  const std::shared_ptr<prometheus::Registry> registry;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_METRICS_H_
