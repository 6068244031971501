// Keeps a directory of blobs (model_cache.h) below a size: what was used longest ago goes first. Workers of a host may
// share the directory: a file that one of them removes stays mapped where it is, and is fetched again when it is next
// asked for.
#ifndef QZO_WORKER_CACHE_LIMIT_H_
#define QZO_WORKER_CACHE_LIMIT_H_

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <utility>

namespace qzo::worker {

// Thread-compatible. What belongs to a blob is everything whose name begins with its digest. Errors of the file system
// are no reason to do without a blob: they are logged.
class CacheLimit {
 public:
  // No limit when `bytes` is 0.
  CacheLimit(std::string directory, uint64_t bytes) : directory_(std::move(directory)), bytes_(bytes) {}

  // The blob is used now.
  void Use(const std::string& digest) const;
  // Removes blobs other than `kept` until there is room for `more` bytes, or nothing to remove.
  void MakeRoom(uint64_t more, const std::set<std::string>& kept) const;

 private:
  const std::filesystem::path directory_;
  const uint64_t bytes_;
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_CACHE_LIMIT_H_
