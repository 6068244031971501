// A worker's part of a pipeline: what it says to the stages before and after, and its turns of the compute thread. A
// thread of the job's own calls it, and waits here for neighbours, so that the compute thread waits for no other
// worker: two workers that are stages of two jobs in opposite order would wait for each other for ever.
#ifndef QZO_WORKER_STAGE_H_
#define QZO_WORKER_STAGE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "kernels/cuda/communicator.h"
#include "model/graph/model.h"
#include "model/graph/stage_passes.h"
#include "qzo/v1/worker.pb.h"
#include "worker/metrics.h"
#include "worker/stage_link.h"
#include "worker/turns.h"

namespace qzo::worker {

// Thread-compatible, but for End and link_status, which may be called from any thread.
class Stage final : public model::StageSeam {
 public:
  // What the stage uses, and must be outlived by.
  struct Surroundings {
    StageTransport* transport;
    kernels::cuda::Communicators* communicators;  // nullptr: rows travel by the transport
    FairQueue* compute;
    uint64_t lane;
    const base::Clock* clock;
    Metrics* metrics;
  };

  // The stage before may come from now on. `link_ended` as in StageTransport. Possible errors: INVALID_ARGUMENT for a
  // plan that makes no sense, FAILED_PRECONDITION for one with communicators where there are none, those of
  // StageTransport::Dial.
  static absl::StatusOr<std::unique_ptr<Stage>> Open(const v1::StagePlan& plan, const Surroundings& around,
                                                     const std::function<void()>& link_ended);

  const v1::StagePlan& plan() const { return plan_; }
  model::LayerRange layers() const {
    return {static_cast<int32_t>(plan_.first_layer()), static_cast<int32_t>(plan_.end_layer())};
  }
  bool first() const { return plan_.index() == 0; }
  bool last() const { return plan_.index() + 1 == plan_.count(); }
  // Of a row, once the model is known.
  void set_embedding_length(int64_t floats) { embedding_length_ = floats; }

  // Waits until both neighbours are there, and their communicators.
  absl::Status Connect();

  // Before the passes of a step: the digest of the multipliers of this and all earlier stages, of which `own` is this
  // one's. ABORTED when the stage before is at another step.
  absl::StatusOr<uint64_t> Begin(uint32_t step, uint64_t own);
  // The multipliers of a snapshot: `earlier` come from the stages before, `own` follow. All of them at the last stage,
  // none at others.
  absl::StatusOr<std::vector<float>> Collect(uint32_t step, int64_t earlier, absl::Span<const float> own);

  absl::Status Receive(absl::Span<float> rows) override;
  absl::Status Send(absl::Span<const float> rows) override;
  bool receives_on_device() const override { return from_previous_ != nullptr; }
  absl::Status ReceiveOnDevice(std::byte* rows, size_t bytes) override;
  bool sends_on_device() const override { return to_next_ != nullptr; }
  absl::Status SendOnDevice(const std::byte* rows, size_t bytes) override;
  absl::Status SettleOnDevice() override;
  absl::Status Compute(const std::function<void()>& work) override;

  // Ends what goes from device to device: before the memory of passes is released, which would wait for it, and no pass
  // runs any more.
  void Abort();
  // In order: wakes whatever waits, with CANCELLED.
  void End();
  absl::Status link_status() const;  // the worse of both, OK while they live

 private:
  Stage(const v1::StagePlan& plan, const Surroundings& around)
      : plan_(plan),
        communicators_(around.communicators),
        clock_(*around.clock),
        metrics_(*around.metrics),
        turns_(around.compute, around.lane) {}

  absl::Status JoinCommunicators();
  absl::StatusOr<v1::StageFrame> Next(v1::StageFrame::FrameCase expected);
  absl::Status Pass(v1::StageFrame frame);
  absl::Status SendMultipliers(uint32_t step, absl::Span<const float> values);
  absl::Status Annotated(const absl::Status& status, const char* neighbour) const;
  // Calls `wait`, and counts its time as waiting.
  absl::Status Waited(const std::function<absl::Status()>& wait);
  kernels::cuda::Interrupt WhileLinked() const {  // to the next stage
    return [this] { return after_->status(); };
  }
  kernels::cuda::Interrupt UntilLate(const char* what) const;  // or until the link from the stage before has ended

  const v1::StagePlan plan_;
  kernels::cuda::Communicators* const communicators_;
  const base::Clock& clock_;
  Metrics& metrics_;
  Turns turns_;
  std::unique_ptr<FrameSource> before_;  // nullptr at the first
  std::unique_ptr<FrameSink> after_;     // nullptr at the last
  // Where rows travel from device to device; the frames about them go by the links, and a link's end is theirs.
  std::unique_ptr<kernels::cuda::Communicator> from_previous_, to_next_;
  int64_t embedding_length_ = 1;
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_STAGE_H_
