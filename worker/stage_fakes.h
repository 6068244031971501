// Links between the stages of one process, for tests: one queue each.
#ifndef QZO_WORKER_STAGE_FAKES_H_
#define QZO_WORKER_STAGE_FAKES_H_

#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "base/mutex.h"
#include "worker/frame_queue.h"
#include "worker/stage_link.h"

namespace qzo::worker {

class InProcessStages final : public StageTransport {
 public:
  std::unique_ptr<FrameSource> Accept(const v1::StagePlan& plan, std::function<void()> ended) override {
    std::shared_ptr<Link> link = Find(plan.pipeline(), plan.index());
    link->Join(kSource, std::move(ended));
    return std::make_unique<Source>(std::move(link));
  }
  absl::StatusOr<std::unique_ptr<FrameSink>> Dial(const v1::StagePlan& plan, std::function<void()> ended) override {
    std::shared_ptr<Link> link = Find(plan.pipeline(), plan.index() + 1);
    link->Join(kSink, std::move(ended));
    return std::make_unique<Sink>(std::move(link));
  }

 private:
  static constexpr size_t kSource = 0, kSink = 1;  // sides
  struct Link {
    void Join(size_t side, std::function<void()> on_end) {
      base::MutexLock lock(&mu);
      ended[side] = std::move(on_end);
      if (ended[1 - side] != nullptr) queue.Open();
    }
    void End(size_t side) {
      if (!queue.End(absl::CancelledError("the pipeline has ended"))) return;
      std::function<void()> tell;
      {
        base::MutexLock lock(&mu);
        tell = ended[1 - side];
      }
      if (tell != nullptr) tell();
    }
    FrameQueue queue{kLinkBufferBytes};
    base::Mutex mu;
    std::function<void()> ended[2] ABSL_GUARDED_BY(mu);
  };

  class Source final : public FrameSource {
   public:
    explicit Source(std::shared_ptr<Link> link) : link_(std::move(link)) {}
    ~Source() override { Source::End(); }
    absl::Status Connect() override { return link_->queue.WaitUntilOpen(); }
    absl::Status status() const override { return link_->queue.status(); }
    void End() override { link_->End(kSource); }
    absl::StatusOr<v1::StageFrame> Receive() override { return link_->queue.Pop(); }

   private:
    const std::shared_ptr<Link> link_;
  };

  class Sink final : public FrameSink {
   public:
    explicit Sink(std::shared_ptr<Link> link) : link_(std::move(link)) {}
    ~Sink() override { Sink::End(); }
    absl::Status Connect() override { return link_->queue.WaitUntilOpen(); }
    absl::Status status() const override { return link_->queue.status(); }
    void End() override { link_->End(kSink); }
    absl::Status Send(v1::StageFrame frame) override { return link_->queue.Push(std::move(frame)); }

   private:
    const std::shared_ptr<Link> link_;
  };

  std::shared_ptr<Link> Find(uint64_t pipeline, uint32_t index) {
    base::MutexLock lock(&mu_);
    std::shared_ptr<Link>& link = links_[{pipeline, index}];
    if (link == nullptr) link = std::make_shared<Link>();
    return link;
  }

  base::Mutex mu_;
  std::map<std::pair<uint64_t, uint32_t>, std::shared_ptr<Link>> links_ ABSL_GUARDED_BY(mu_);
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_STAGE_FAKES_H_
