#include "base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace qzo::base {
namespace {

// The directories in which limits of `controller` may stand, the process's own group first, and their version.
struct Groups {
  int version = 2;
  std::vector<std::string> directories;
};

// Lines of the text are "hierarchy:controllers:path". Version 2 has hierarchy 0 and names no controllers; one that
// version 1 has taken is not in it.
Groups GroupsOf(const std::string& text, const std::string& controller, const std::string& root) {
  Groups groups;
  std::string path, mount;
  std::istringstream lines(text);
  for (std::string hierarchy, controllers, line; std::getline(lines, line);) {
    std::istringstream parts(line);
    std::string own;
    if (!std::getline(parts, hierarchy, ':') || !std::getline(parts, controllers, ':') || !std::getline(parts, own)) {
      continue;
    }
    if (absl::StrContains(absl::StrCat(",", controllers, ","), absl::StrCat(",", controller, ","))) {
      groups.version = 1;
      mount = absl::StrCat(root, "/", controller);
      path = own;
    } else if (hierarchy == "0" && groups.version == 2) {
      mount = root;
      path = own;
    }
  }
  if (path.empty() || path.front() != '/') return groups;
  while (path.size() > 1) {
    groups.directories.push_back(mount + path);
    path.resize(std::max<size_t>(1, path.rfind('/')));
  }
  groups.directories.push_back(mount);
  return groups;
}

// The numbers at the start of a file: none of "max", which is no limit.
template <typename Number, size_t kCount>
bool ReadNumbers(const std::string& path, Number (&numbers)[kCount]) {
  std::ifstream file(path);
  for (Number& number : numbers) {
    if (!(file >> number)) return false;
  }
  return true;
}

std::optional<double> Processors(const std::string& directory, int version) {
  double quota[2];  // microseconds of CPU time in a period, and the period
  if (version == 2) {
    if (!ReadNumbers(directory + "/cpu.max", quota)) return std::nullopt;
  } else {
    double value[1], period[1];
    if (!ReadNumbers(directory + "/cpu.cfs_quota_us", value) ||
        !ReadNumbers(directory + "/cpu.cfs_period_us", period)) {
      return std::nullopt;
    }
    quota[0] = value[0];  // −1: no limit
    quota[1] = period[0];
  }
  if (!(quota[0] > 0) || !(quota[1] > 0)) return std::nullopt;
  return quota[0] / quota[1];
}

std::optional<int64_t> MemoryBytes(const std::string& directory, int version) {
  int64_t bytes[1];
  const char* const name = version == 2 ? "/memory.max" : "/memory.limit_in_bytes";
  if (!ReadNumbers(directory + name, bytes) || bytes[0] < 0) return std::nullopt;
  return bytes[0];
}

template <typename T, typename Read>
std::optional<T> Least(const Groups& groups, Read&& read) {
  std::optional<T> least;
  for (const std::string& directory : groups.directories) {
    const std::optional<T> limit = read(directory, groups.version);
    if (limit && (!least || *limit < *least)) least = limit;
  }
  return least;
}

}  // namespace

CgroupLimits ReadCgroupLimits(const std::string& groups, const std::string& root) {
  return {.processors = Least<double>(GroupsOf(groups, "cpu", root), Processors),
          .memory_bytes = Least<int64_t>(GroupsOf(groups, "memory", root), MemoryBytes)};
}

CgroupLimits ReadCgroupLimits() {
  std::ifstream file("/proc/self/cgroup");
  std::ostringstream text;
  text << file.rdbuf();
  return ReadCgroupLimits(text.str(), "/sys/fs/cgroup");
}

}  // namespace qzo::base
