#include "worker/process.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>

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

}  // namespace

int64_t PeakResidentBytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

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

}  // namespace qzo::worker
