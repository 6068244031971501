// process_* metrics of this process, under the names of Prometheus' own client libraries. Linux: reads /proc.
// Thread-safe.
#ifndef QZO_SERVER_PROCESS_METRICS_H_
#define QZO_SERVER_PROCESS_METRICS_H_

#include <prometheus/collectable.h>

#include <vector>

namespace qzo::server {

class ProcessMetrics final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_PROCESS_METRICS_H_
