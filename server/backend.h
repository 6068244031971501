// What services work with. Everything outlives them.
#ifndef QZO_SERVER_BACKEND_H_
#define QZO_SERVER_BACKEND_H_

#include "absl/time/time.h"
#include "base/clock.h"
#include "server/access.h"
#include "server/blob_keeper.h"
#include "server/coordinator.h"
#include "server/executor.h"
#include "server/model_cache.h"
#include "server/open_streams.h"
#include "server/project_quota.h"
#include "server/store.h"

namespace qzo::server {

struct Backend {
  Coordinator* coordinator = nullptr;
  Store* store = nullptr;
  BlobStore* blobs = nullptr;
  BlobKeeper* keeper = nullptr;
  ModelCache* models = nullptr;
  Executor* calls = nullptr;  // a query, a commit, a chunk
  Executor* heavy = nullptr;  // whole files: digests, parsing, tokenizing
  OpenStreams* streams = nullptr;
  Access* access = nullptr;
  ProjectQuota* quota = nullptr;
  const base::Clock* clock = nullptr;
  absl::Duration sign_of_life = absl::Seconds(15);  // longest silence of WatchJob
  absl::Duration stall = absl::Minutes(1);          // that transfers wait for a peer
};

}  // namespace qzo::server

#endif  // QZO_SERVER_BACKEND_H_
