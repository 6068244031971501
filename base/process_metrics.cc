#include "base/process_metrics.h"

#include <prometheus/metric_family.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace qzo::base {
namespace {

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

std::string ReadText(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

double CpuSeconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return Seconds(usage.ru_utime) + Seconds(usage.ru_stime);
}

double ResidentBytes() {
  const std::vector<std::string> fields = absl::StrSplit(ReadText("/proc/self/statm"), ' ');
  double pages = 0;
  if (fields.size() < 2 || !absl::SimpleAtod(fields[1], &pages)) return 0;
  return pages * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

double OpenFiles() {
  std::error_code error;
  const std::filesystem::directory_iterator files("/proc/self/fd", error);
  return error ? 0 : static_cast<double>(std::distance(begin(files), end(files)));
}

// proc(5): field 22 of stat counts clock ticks since boot; fields are counted from behind the command's name.
double StartTime() {
  const std::string stat = ReadText("/proc/self/stat");
  const std::vector<std::string> fields = absl::StrSplit(stat.substr(stat.rfind(')') + 1), ' ', absl::SkipEmpty());
  double ticks = 0, boot = 0;
  if (fields.size() < 20 || !absl::SimpleAtod(fields[19], &ticks)) return 0;
  for (const absl::string_view line : absl::StrSplit(ReadText("/proc/stat"), '\n')) {
    if (line.substr(0, 6) == "btime " && !absl::SimpleAtod(line.substr(6), &boot)) return 0;
  }
  return boot + ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

prometheus::MetricFamily Family(const char* name, const char* help, prometheus::MetricType type, double value) {
  prometheus::ClientMetric metric;
  (type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return {name, help, type, {metric}};
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessMetrics::Collect() const {
  using prometheus::MetricType;
  return {Family("process_cpu_seconds_total", "User and system time", MetricType::Counter, CpuSeconds()),
          Family("process_resident_memory_bytes", "Resident memory", MetricType::Gauge, ResidentBytes()),
          Family("process_open_fds", "Open file descriptors", MetricType::Gauge, OpenFiles()),
          Family("process_start_time_seconds", "Start of the process, Unix time", MetricType::Gauge, StartTime())};
}

}  // namespace qzo::base
