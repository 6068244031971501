#include "kernels/processors.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "kernels/thread_pool.h"

namespace qzo::kernels {
namespace {

constexpr char kCgroupRoot[] = "/sys/fs/cgroup";

int AffinityProcessors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  // More processors than cpu_set_t holds: ask with the largest mask that Linux can be built for.
  constexpr int kMaxProcessors = 8192;
  cpu_set_t* large = CPU_ALLOC(kMaxProcessors);
  const size_t bytes = CPU_ALLOC_SIZE(kMaxProcessors);
  const int count = sched_getaffinity(0, bytes, large) == 0 ? CPU_COUNT_S(bytes, large) : 1;
  CPU_FREE(large);
  return count;
}

// The path in the "0::/path" line of /proc/self/cgroup, or "" without cgroup v2.
std::string OwnCgroup() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::/")) return line.substr(3);
  }
  return "";
}

}  // namespace

int ProcessorsOfCpuMax(std::string_view cpu_max, int unlimited) {
  std::istringstream text{std::string(cpu_max)};
  int64_t quota = 0, period = 0;
  if (!(text >> quota >> period) || quota <= 0 || period <= 0) return unlimited;
  return static_cast<int>(std::clamp<int64_t>(quota / period, 1, unlimited));
}

int AvailableProcessors() {
  int processors = std::max(1, AffinityProcessors());
  // A limit of any ancestor binds too.
  for (std::filesystem::path path = OwnCgroup(); !path.empty(); path = path.parent_path()) {
    std::ifstream file(kCgroupRoot + (path / "cpu.max").string());
    std::string line;
    if (std::getline(file, line)) processors = ProcessorsOfCpuMax(line, processors);
    if (path == path.parent_path()) break;
  }
  return processors;
}

}  // namespace qzo::kernels
