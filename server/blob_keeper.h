// Removes blobs that no resource needs any more, and no other. A blob comes before the resource that names it, so for
// as long as anyone holds a Hold nothing is removed; what was discarded meanwhile is looked at when the last hold ends.
// Thread-safe.
#ifndef QZO_SERVER_BLOB_KEEPER_H_
#define QZO_SERVER_BLOB_KEEPER_H_

#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "server/blob_store.h"
#include "server/store.h"

namespace qzo::server {

class BlobKeeper {
 public:
  // The arguments must outlive the keeper.
  BlobKeeper(Store* store, BlobStore* blobs) : store_(store), blobs_(blobs) {}

  // To be held from before a blob is made, or its digest read, until the resource that names it is stored.
  class Hold {
   public:
    explicit Hold(BlobKeeper* keeper);
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    BlobKeeper* const keeper_;
  };

  // The blob lost a reference: removes it unless a dataset, model, adapter or job that has not ended names it. Failures
  // are logged: the blob then stays.
  void Discard(const std::string& digest);

  BlobStore* blobs() const { return blobs_; }

 private:
  absl::StatusOr<std::set<std::string>> References() const;
  void Collect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Store* const store_;
  BlobStore* const blobs_;

  base::Mutex mu_;
  int holds_ ABSL_GUARDED_BY(mu_) = 0;
  std::set<std::string> discarded_ ABSL_GUARDED_BY(mu_);
};

}  // namespace qzo::server

#endif  // QZO_SERVER_BLOB_KEEPER_H_
