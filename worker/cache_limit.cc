#include "worker/cache_limit.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <system_error>
#include <vector>

#include "base/digest.h"
#include "base/text.h"

namespace qzo::worker {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDigestLength = 64;

struct Blob {
  std::string digest;
  uint64_t bytes = 0;
  fs::file_time_type used = fs::file_time_type::min();
};

std::string DigestIn(const fs::path& name) { return name.string().substr(0, kDigestLength); }

// The longest unused first. Other processes add and remove files meanwhile: what is not there any more has no size.
std::vector<Blob> Scan(const fs::path& directory) {
  std::map<std::string, Blob> blobs;
  std::error_code error, gone;
  for (fs::recursive_directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    const std::string digest = DigestIn(*entry->path().lexically_relative(directory).begin());
    if (!base::IsSha256Hex(digest)) continue;
    Blob& blob = blobs[digest];
    blob.digest = digest;
    const fs::file_time_type used = entry->last_write_time(gone);
    if (!gone) blob.used = std::max(blob.used, used);
    const uint64_t bytes = entry->is_regular_file(gone) ? entry->file_size(gone) : 0;
    if (!gone) blob.bytes += bytes;
  }
  std::vector<Blob> sorted;
  sorted.reserve(blobs.size());
  for (auto& [digest, blob] : blobs) sorted.push_back(std::move(blob));
  std::sort(sorted.begin(), sorted.end(), [](const Blob& a, const Blob& b) { return a.used < b.used; });
  return sorted;
}

// What of the directory belongs to the blob.
std::vector<fs::path> PathsOf(const fs::path& directory, const std::string& digest) {
  std::vector<fs::path> paths;
  std::error_code gone;
  for (fs::directory_iterator entry(directory, gone), end; !gone && entry != end; entry.increment(gone)) {
    if (DigestIn(entry->path().filename()) == digest) paths.push_back(entry->path());
  }
  return paths;
}

void Remove(const fs::path& directory, const Blob& blob) {
  std::error_code error;
  for (const fs::path& path : PathsOf(directory, blob.digest)) {
    if (!error) fs::remove_all(path, error);
  }
  if (error) return spdlog::warn("{}: not removed: {}", (directory / blob.digest).string(), error.message());
  spdlog::info("{}: removed, {}", (directory / blob.digest).string(), base::HumanBytes(blob.bytes));
}

}  // namespace

void CacheLimit::Use(const std::string& digest) const {
  if (bytes_ == 0) return;
  for (const fs::path& path : PathsOf(directory_, digest)) {
    std::error_code gone;
    fs::last_write_time(path, fs::file_time_type::clock::now(), gone);
  }
}

void CacheLimit::MakeRoom(uint64_t more, const std::set<std::string>& kept) const {
  if (bytes_ == 0) return;
  const std::vector<Blob> blobs = Scan(directory_);
  uint64_t total = more;
  for (const Blob& blob : blobs) total += blob.bytes;
  for (const Blob& blob : blobs) {
    if (total <= bytes_) return;
    if (kept.contains(blob.digest)) continue;
    Remove(directory_, blob);
    total -= blob.bytes;
  }
}

}  // namespace qzo::worker
