#include "server/store.h"

#include <utility>

#include "base/mutex.h"

namespace qzo::server {

absl::Status Store::Write(WriteBatch batch) {
  base::Mutex mu;
  base::CondVar answered;
  std::optional<absl::Status> status;
  Submit(std::move(batch), [&](absl::Status s) {
    base::MutexLock lock(&mu);
    status = std::move(s);
    answered.SignalOne();  // under the lock: the waiter destroys both when it has the answer
  });
  base::MutexLock lock(&mu);
  while (!status.has_value()) answered.Wait(&mu);
  return *std::move(status);
}

}  // namespace qzo::server
