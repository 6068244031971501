#include "server/open_streams.h"

#include <utility>

namespace qzo::server {

OpenStreams::Entry::Entry(OpenStreams* streams, std::function<void()> end) : streams_(streams) {
  base::MutexLock lock(&streams_->mu_);
  if (streams_->closed_) end();
  streams_->ends_[this] = std::move(end);
}

OpenStreams::Entry::~Entry() {
  base::MutexLock lock(&streams_->mu_);
  streams_->ends_.erase(this);
}

void OpenStreams::CloseAll() {
  base::MutexLock lock(&mu_);
  if (std::exchange(closed_, true)) return;
  for (const auto& [entry, end] : ends_) end();
}

}  // namespace qzo::server
