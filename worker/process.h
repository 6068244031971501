// What this process and its machine are. Thread-safe.
#ifndef QZO_WORKER_PROCESS_H_
#define QZO_WORKER_PROCESS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <cstdint>
#include <string>
#include <vector>

namespace qzo::worker {

// Largest resident set so far, mapped files included.
int64_t PeakResidentBytes();

// Memory that this process may use: that of the machine, or the least limit among its cgroups (v2).
int64_t AvailableMemoryBytes();

std::string Hostname();

// The process_* metrics that Prometheus' client libraries share.
class ProcessCollector final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_PROCESS_H_
