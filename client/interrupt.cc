#include "client/interrupt.h"

#include "absl/time/clock.h"

namespace qzo::client {

void Interrupt::Trigger() {
  base::MutexLock lock(&mu_);
  triggered_ = true;
  for (grpc::ClientContext* context : contexts_) context->TryCancel();
  changed_.SignalAll();
}

bool Interrupt::triggered() const {
  base::MutexLock lock(&mu_);
  return triggered_;
}

bool Interrupt::Sleep(absl::Duration duration) {
  const absl::Time end = absl::Now() + duration;
  base::MutexLock lock(&mu_);
  while (!triggered_ && absl::Now() < end) changed_.WaitFor(&mu_, end - absl::Now());
  return !triggered_;
}

Interrupt::Scope::Scope(Interrupt* interrupt, grpc::ClientContext* context) : interrupt_(interrupt), context_(context) {
  if (interrupt_ == nullptr) return;
  base::MutexLock lock(&interrupt_->mu_);
  interrupt_->contexts_.insert(context_);
  if (interrupt_->triggered_) context_->TryCancel();
}

Interrupt::Scope::~Scope() {
  if (interrupt_ == nullptr) return;
  base::MutexLock lock(&interrupt_->mu_);
  interrupt_->contexts_.erase(context_);
}

}  // namespace qzo::client
