// Metrics that are measured when somebody asks for them rather than counted as things happen. Thread-safe.
#ifndef QZO_SERVER_LIVE_METRICS_H_
#define QZO_SERVER_LIVE_METRICS_H_

#include <prometheus/collectable.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "server/coordinator.h"
#include "server/store.h"

namespace qzo::server {

// Jobs that have not ended. At most `limit` of them have series of their own, {project, name}: running ones first, then
// the older first. A job that has ended is in no answer any more, so its series end with it.
class JobMetrics final : public prometheus::Collectable {
 public:
  JobMetrics(std::function<std::vector<JobView>()> jobs, size_t limit) : jobs_(std::move(jobs)), limit_(limit) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::function<std::vector<JobView>()> jobs_;
  const size_t limit_;
};

// The store's transactions, and the disk that the data directory is on.
class StorageMetrics final : public prometheus::Collectable {
 public:
  StorageMetrics(const Store* store, std::string directory) : store_(store), directory_(std::move(directory)) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Store* const store_;
  const std::string directory_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_LIVE_METRICS_H_
