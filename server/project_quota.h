// What a project may hold: bytes of files (datasets, models, adapters), and jobs that have not ended. Counted in the
// store each time, so that nothing has to be kept in step with it. Thread-safe.
#ifndef QZO_SERVER_PROJECT_QUOTA_H_
#define QZO_SERVER_PROJECT_QUOTA_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "server/store.h"

namespace qzo::server {

class ProjectQuota {
 public:
  struct Options {
    uint64_t bytes = 0;  // 0 = any
    int open_jobs = 0;   // likewise
  };

  // `store` must outlive the quota.
  ProjectQuota(const Options& options, Store* store) : options_(options), store_(store) {}

  // Room for one file on its way in, given back by the destructor: until then the file counts, though no resource names
  // it. One thread at a time.
  class Room {
   public:
    ~Room();
    Room(const Room&) = delete;
    Room& operator=(const Room&) = delete;

    // For so many bytes more. RESOURCE_EXHAUSTED (PROJECT_FULL) when there is none.
    absl::Status Take(uint64_t bytes);
    // Counts again: others may have stored files since Open. To be asked before the resource is stored.
    absl::Status Confirm();

   private:
    friend class ProjectQuota;
    Room(ProjectQuota* quota, std::string project, uint64_t stored)
        : quota_(quota), project_(std::move(project)), stored_(stored) {}

    ProjectQuota* const quota_;
    const std::string project_;
    uint64_t stored_;  // when it was counted last
    uint64_t taken_ = 0;
  };
  absl::StatusOr<std::unique_ptr<Room>> Open(const std::string& project);

  // Whether one job more may be open. RESOURCE_EXHAUSTED (TOO_MANY_JOBS).
  absl::Status CheckJobs(const std::string& project);

 private:
  absl::StatusOr<uint64_t> StoredBytes(const std::string& project) const;
  absl::Status Fits(const std::string& project, uint64_t stored) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  Store* const store_;

  base::Mutex mu_;
  std::map<std::string, uint64_t> on_their_way_ ABSL_GUARDED_BY(mu_);  // bytes, by project; none is 0
};

}  // namespace qzo::server

#endif  // QZO_SERVER_PROJECT_QUOTA_H_
