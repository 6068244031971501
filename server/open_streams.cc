#include "server/open_streams.h"

#include <utility>

namespace qzo::server {
namespace {

absl::Status ShuttingDown() { return absl::UnavailableError("the server is shutting down; call again"); }

}  // namespace

OpenStreams::Entry::Entry(OpenStreams* streams, Stream stream) : streams_(streams) {
  base::MutexLock lock(&streams_->mu_);
  Open& open = streams_->open_[this];
  open.stream = std::move(stream);
  if (streams_->closed_ && open.stream.endless) streams_->End(&open, ShuttingDown());
}

OpenStreams::Entry::~Entry() {
  base::MutexLock lock(&streams_->mu_);
  streams_->open_.erase(this);
}

void OpenStreams::End(Open* open, const absl::Status& why) {
  if (open->told_at) return;
  open->told_at = clock_->Monotonic();
  open->stream.end(why);
}

void OpenStreams::CloseAll() {
  base::MutexLock lock(&mu_);
  closed_ = true;
  for (auto& [entry, open] : open_) {
    if (open.stream.endless) End(&open, ShuttingDown());
  }
}

void OpenStreams::Check(const std::function<absl::Status(const Identity& caller)>& welcome) {
  base::MutexLock lock(&mu_);
  for (const bool carries_calls : {false, true}) {
    for (auto& [entry, open] : open_) {
      if (open.stream.carries_calls != carries_calls) continue;
      const absl::Status status = welcome(open.stream.caller);
      if (status.ok()) continue;
      if (open.told_at && clock_->Monotonic() - *open.told_at >= kGrace) open.stream.context->TryCancel();
      End(&open, status);
    }
  }
}

}  // namespace qzo::server
