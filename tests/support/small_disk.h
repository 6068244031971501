// A file system that is soon full: a tmpfs mounted in a mount namespace of this process's own, so that nothing is left
// behind. Needs root; where it cannot be had, mounted() is false and the test should skip.
#ifndef QZO_TESTS_SUPPORT_SMALL_DISK_H_
#define QZO_TESTS_SUPPORT_SMALL_DISK_H_

#include <sched.h>
#include <sys/mount.h>

#include <cstdint>
#include <string>

#include "tests/support/temp_dir.h"

namespace qzo::testing {

class SmallDisk {
 public:
  explicit SmallDisk(uint64_t bytes) {
    const std::string size = "size=" + std::to_string(bytes);
    mounted_ = ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
               ::mount("tmpfs", directory_.path().c_str(), "tmpfs", 0, size.c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(directory_.path().c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool mounted() const { return mounted_; }
  const std::string& path() const { return directory_.path(); }
  std::string File(const std::string& name) const { return directory_.File(name); }

 private:
  TempDir directory_;
  bool mounted_ = false;
};

}  // namespace qzo::testing

#endif  // QZO_TESTS_SUPPORT_SMALL_DISK_H_
