// Lets another thread, a signal's say, end whatever a client is waiting for. Thread-safe.
#ifndef QZO_CLIENT_INTERRUPT_H_
#define QZO_CLIENT_INTERRUPT_H_

#include <grpcpp/client_context.h>

#include "absl/container/flat_hash_set.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace qzo::client {

class Interrupt {
 public:
  // Ends waits and calls in progress and all later ones; there is no way back.
  void Trigger();
  bool triggered() const;
  // Returns false when triggered, before or meanwhile.
  bool Sleep(absl::Duration duration);

  // While it lives, Trigger cancels `context`. `interrupt` may be nullptr; both must outlive it.
  class Scope {
   public:
    Scope(Interrupt* interrupt, grpc::ClientContext* context);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Interrupt* const interrupt_;
    grpc::ClientContext* const context_;
  };

 private:
  mutable base::Mutex mu_;
  base::CondVar changed_;
  bool triggered_ ABSL_GUARDED_BY(mu_) = false;
  absl::flat_hash_set<grpc::ClientContext*> contexts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace qzo::client

#endif  // QZO_CLIENT_INTERRUPT_H_
