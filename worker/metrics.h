// The worker's Prometheus metrics (docs/metrics.md lists them). Owned, injected, never global. Thread-safe.
#ifndef QZO_WORKER_METRICS_H_
#define QZO_WORKER_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <memory>

namespace qzo::worker {

class Metrics {
 public:
  explicit Metrics(std::shared_ptr<prometheus::Registry> registry);

  const std::shared_ptr<prometheus::Registry> registry;
  prometheus::Counter& items;  // training items answered
  prometheus::Histogram& item_duration;
  prometheus::Counter& tokens;          // read by forward passes, once per lane
  prometheus::Counter& replay_entries;  // journal steps applied before a replica was ready
  prometheus::Histogram& replay_duration;
  prometheus::Gauge& peak_resident_bytes;
  prometheus::Gauge& memory_limit_bytes;  // for models and replicas
  prometheus::Counter& troubles;          // JobTrouble sent
  prometheus::Counter& reconnects;        // streams that broke
  prometheus::Gauge& attached;            // 1 while a coordinator has the worker
  // Of jobs in which this worker is a stage of a pipeline.
  prometheus::Counter& stage_busy;        // seconds that it computed
  prometheus::Counter& stage_wait;        // seconds that it waited for its neighbours
  prometheus::Counter& stage_sent_bytes;  // to next stages
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_METRICS_H_
