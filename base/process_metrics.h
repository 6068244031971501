// process_* metrics of this process, under the names of Prometheus' own client libraries. Linux: reads /proc.
// Thread-safe.
#ifndef QZO_BASE_PROCESS_METRICS_H_
#define QZO_BASE_PROCESS_METRICS_H_

#include <prometheus/collectable.h>

#include <vector>

namespace qzo::base {

class ProcessMetrics final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace qzo::base

#endif  // QZO_BASE_PROCESS_METRICS_H_
