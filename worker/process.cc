#include "worker/process.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string_view>
#include <utility>

namespace qzo::worker {
namespace {

constexpr char kCgroupRoot[] = "/sys/fs/cgroup";

// The path in the "0::/path" line of /proc/self/cgroup, or "" without cgroup v2.
std::string OwnCgroup() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::/")) return line.substr(3);
  }
  return "";
}

rusage Usage() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage;
}

double CpuSeconds() {
  const rusage usage = Usage();
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Second field of /proc/self/statm, in pages.
double ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t virtual_pages = 0, resident_pages = 0;
  file >> virtual_pages >> resident_pages;
  return static_cast<double>(resident_pages * ::sysconf(_SC_PAGESIZE));
}

double OpenFiles() {
  std::error_code error;
  const std::filesystem::directory_iterator files("/proc/self/fd", error);
  return error ? 0 : static_cast<double>(std::distance(begin(files), end(files)));
}

// Boot time plus field 22 of /proc/self/stat (proc(5)), which counts clock ticks since boot.
double StartTimeSeconds() {
  std::ifstream stat_file("/proc/self/stat");
  std::string stat;
  std::getline(stat_file, stat);
  stat.erase(0, stat.rfind(')') + 2);  // the command's name may hold blanks
  size_t at = 0;
  for (int field = 3; field < 22 && at != std::string::npos; ++field) at = stat.find(' ', at + 1);
  const double ticks = at == std::string::npos ? 0 : std::strtod(stat.c_str() + at, nullptr);
  std::ifstream boot_file("/proc/stat");
  double boot = 0;
  for (std::string word; boot_file >> word;) {
    if (word == "btime") boot_file >> boot;
  }
  return boot + ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace

int64_t PeakResidentBytes() { return int64_t{Usage().ru_maxrss} * 1024; }

int64_t AvailableMemoryBytes() {
  int64_t bytes = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  for (std::filesystem::path path = OwnCgroup(); !path.empty(); path = path.parent_path()) {
    std::ifstream file(kCgroupRoot + (path / "memory.max").string());
    int64_t limit = 0;
    if (file >> limit) bytes = std::min(bytes, limit);  // "max" is no number
    if (path == path.parent_path()) break;
  }
  return bytes;
}

std::string Hostname() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

std::vector<prometheus::MetricFamily> ProcessCollector::Collect() const {
  std::vector<prometheus::MetricFamily> families;
  const auto add = [&families](const char* name, const char* help, prometheus::MetricType type, double value) {
    prometheus::ClientMetric metric;
    (type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    families.push_back({name, help, type, {std::move(metric)}});
  };
  using prometheus::MetricType;
  add("process_cpu_seconds_total", "User and system CPU time.", MetricType::Counter, CpuSeconds());
  add("process_resident_memory_bytes", "Resident set.", MetricType::Gauge, ResidentBytes());
  add("process_open_fds", "Open file descriptors.", MetricType::Gauge, OpenFiles());
  add("process_start_time_seconds", "Start, in seconds since the epoch.", MetricType::Gauge, StartTimeSeconds());
  return families;
}

}  // namespace qzo::worker
