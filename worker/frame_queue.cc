#include "worker/frame_queue.h"

#include <utility>

#include "base/log.h"

namespace qzo::worker {
namespace {

int64_t Bytes(const v1::StageFrame& frame) { return static_cast<int64_t>(frame.ByteSizeLong()); }

}  // namespace

absl::Status FrameQueue::Push(v1::StageFrame frame) {
  base::MutexLock lock(&mu_);
  while (end_.ok() && bytes_ >= max_bytes_) changed_.Wait(&mu_);
  if (!end_.ok()) return end_;
  bytes_ += Bytes(frame);
  frames_.push_back(std::move(frame));
  changed_.SignalAll();
  return absl::OkStatus();
}

absl::StatusOr<v1::StageFrame> FrameQueue::Pop() {
  base::MutexLock lock(&mu_);
  while (end_.ok() && frames_.empty()) changed_.Wait(&mu_);
  if (!end_.ok()) return end_;
  return TakeFirst();
}

void FrameQueue::Add(v1::StageFrame frame) {
  base::MutexLock lock(&mu_);
  if (!end_.ok()) return;
  bytes_ += Bytes(frame);
  frames_.push_back(std::move(frame));
  changed_.SignalAll();
}

std::optional<v1::StageFrame> FrameQueue::TryPop() {
  base::MutexLock lock(&mu_);
  if (frames_.empty()) return std::nullopt;
  return TakeFirst();
}

v1::StageFrame FrameQueue::TakeFirst() {
  v1::StageFrame frame = std::move(frames_.front());
  frames_.pop_front();
  bytes_ -= Bytes(frame);
  changed_.SignalAll();
  return frame;
}

bool FrameQueue::full() const {
  base::MutexLock lock(&mu_);
  return bytes_ >= max_bytes_;
}

void FrameQueue::Open() {
  base::MutexLock lock(&mu_);
  open_ = true;
  changed_.SignalAll();
}

absl::Status FrameQueue::WaitUntilOpen() {
  base::MutexLock lock(&mu_);
  while (end_.ok() && !open_) changed_.Wait(&mu_);
  return end_;
}

bool FrameQueue::End(const absl::Status& why) {
  QZO_CHECK(!why.ok());
  base::MutexLock lock(&mu_);
  if (!end_.ok()) return false;
  end_ = why;
  frames_.clear();
  bytes_ = 0;
  changed_.SignalAll();
  return true;
}

absl::Status FrameQueue::status() const {
  base::MutexLock lock(&mu_);
  return end_;
}

absl::Status FrameQueue::WaitForEnd(absl::Duration timeout) {
  base::MutexLock lock(&mu_);
  while (end_.ok() && changed_.WaitFor(&mu_, timeout)) {
  }
  return end_;
}

}  // namespace qzo::worker
