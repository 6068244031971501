// Links between the stages of a pipeline: the seam between what a stage says to its neighbours and what carries it.
// Frames arrive as they were sent, in order; a link that has ended stays so.
//
// A link ends in order (CANCELLED) by End at either side: the stage's job was closed, or has failed and said so to its
// coordinator. Whatever else ends it is a loss (UNAVAILABLE), or another error of the transport.
#ifndef QZO_WORKER_STAGE_LINK_H_
#define QZO_WORKER_STAGE_LINK_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "qzo/v1/stage.pb.h"
#include "qzo/v1/worker.pb.h"

namespace qzo::worker {

// Of frames under way, at either side of a link: two passes of 512 rows of 8,192 floats.
inline constexpr int64_t kLinkBufferBytes = int64_t{32} << 20;

// One side of a link. Thread-safe; the end of the link wakes whatever waits, and every call then returns why.
class StageLink {
 public:
  virtual ~StageLink() = default;
  // Waits until both sides are there. Towards the next stage that is an attempt: UNAVAILABLE when it cannot be reached,
  // PERMISSION_DENIED when it takes us for somebody else.
  virtual absl::Status Connect() = 0;
  virtual absl::Status status() const = 0;  // OK until the end
  virtual void End() = 0;
};

class FrameSource : public StageLink {
 public:
  virtual absl::StatusOr<v1::StageFrame> Receive() = 0;
};

class FrameSink : public StageLink {
 public:
  // After Connect. Waits while kLinkBufferBytes or more are under way.
  virtual absl::Status Send(v1::StageFrame frame) = 0;
};

// Makes links for the stage of a plan. `ended` is called once, on any thread, when the link ends otherwise than by its
// own End. Thread-safe; outlives its links.
class StageTransport {
 public:
  virtual ~StageTransport() = default;
  // From the stage before, which is expected from now on.
  virtual std::unique_ptr<FrameSource> Accept(const v1::StagePlan& plan, std::function<void()> ended) = 0;
  // To the next stage. Possible errors: an address or certificate that cannot be used.
  virtual absl::StatusOr<std::unique_ptr<FrameSink>> Dial(const v1::StagePlan& plan, std::function<void()> ended) = 0;
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_STAGE_LINK_H_
