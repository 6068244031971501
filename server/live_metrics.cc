#include "server/live_metrics.h"

#include <prometheus/metric_family.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/time/time.h"

namespace qzo::server {
namespace {

using Labels = std::vector<prometheus::ClientMetric::Label>;
using Family = prometheus::MetricFamily;
using Job = v1::FineTuningJob;

Family Gauge(const char* name, const char* help) { return {name, help, prometheus::MetricType::Gauge, {}}; }
Family Counter(const char* name, const char* help) { return {name, help, prometheus::MetricType::Counter, {}}; }

Family& Add(double value, const Labels& labels, Family* family) {
  prometheus::ClientMetric metric;
  metric.label = labels;
  (family->type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  family->metric.push_back(std::move(metric));
  return *family;
}

}  // namespace

std::vector<Family> JobMetrics::Collect() const {
  std::vector<JobView> jobs = jobs_();
  double stall = 0, items = 0;
  for (const JobView& job : jobs) {
    stall = std::max(stall, absl::ToDoubleSeconds(job.quiet));
    items += job.state == Job::PAUSED ? 0 : job.items;
  }
  std::stable_partition(jobs.begin(), jobs.end(), [](const JobView& job) { return job.state == Job::RUNNING; });
  jobs.resize(std::min(jobs.size(), limit_));

  Family longest = Gauge("qzo_job_stall_seconds", "Longest time that a running job has been without an answer");
  Family parallel = Gauge("qzo_parallel_items", "Items of a step, of all jobs not paused: no more workers are of use");
  std::vector<Family> families = {Add(stall, {}, &longest), Add(items, {}, &parallel)};
  Family step = Gauge("qzo_job_step", "Steps in the journal");
  Family steps = Gauge("qzo_job_steps", "Steps that the job will have");
  Family loss = Gauge("qzo_job_train_loss", "Training loss of the last step");
  Family validation = Gauge("qzo_job_validation_loss", "Loss of the last validation");
  Family speed = Gauge("qzo_job_tokens_per_second", "Tokens read by forward passes in the last step");
  Family workers = Gauge("qzo_job_workers", "Ready replicas");
  Family quiet = Gauge("qzo_job_quiet_seconds", "Time without an answer, while running");
  for (const JobView& job : jobs) {
    const Labels labels = {{"project", job.project}, {"name", job.id}};
    const v1::Progress& progress = job.progress;
    Add(progress.step(), labels, &step);
    Add(progress.total_steps(), labels, &steps);
    if (progress.step() > 0) Add(progress.train_loss(), labels, &loss);
    if (progress.has_last_validation()) Add(progress.last_validation().loss(), labels, &validation);
    Add(progress.tokens_per_second(), labels, &speed);
    Add(progress.workers(), labels, &workers);
    Add(absl::ToDoubleSeconds(job.quiet), labels, &quiet);
  }
  families.insert(families.end(), {step, steps, loss, validation, speed, workers, quiet});
  return families;
}

std::vector<Family> StorageMetrics::Collect() const {
  const StoreStats stats = store_->Stats();
  Family commits = Counter("qzo_store_commits_total", "Durable transactions");
  Family batches = Counter("qzo_store_batches_total", "Writes that they carried");
  std::vector<Family> families = {Add(static_cast<double>(stats.commits), {}, &commits),
                                  Add(static_cast<double>(stats.batches), {}, &batches)};
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(directory_, error);
  if (error) return families;
  Family size = Gauge("qzo_data_disk_size_bytes", "The disk of the data directory");
  Family left = Gauge("qzo_data_disk_free_bytes", "What is left of it");
  families.push_back(Add(static_cast<double>(space.capacity), {}, &size));
  families.push_back(Add(static_cast<double>(space.available), {}, &left));
  return families;
}

}  // namespace qzo::server
