// The limits that Linux control groups, version 1 or 2, set for this process: those of its own groups and of all groups
// around them. A value, read once; thread-compatible.
#ifndef QZO_BASE_CGROUP_H_
#define QZO_BASE_CGROUP_H_

#include <cstdint>
#include <optional>
#include <string>

namespace qzo::base {

struct CgroupLimits {
  std::optional<double> processors;     // CPU time per time; nullopt: no limit, or none that can be read
  std::optional<int64_t> memory_bytes;  // same
};

// `groups` is the text of /proc/self/cgroup. Its paths are looked up below `root`; in a container that sees only its
// own group, which its root then is, the paths that do not exist are passed over.
CgroupLimits ReadCgroupLimits(const std::string& groups, const std::string& root);

// Of this process.
CgroupLimits ReadCgroupLimits();

}  // namespace qzo::base

#endif  // QZO_BASE_CGROUP_H_
