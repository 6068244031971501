// Forward passes of a model that several machines hold between them, each a range of its layers. All stages run the
// same engine over the same examples, and so make the same passes in the same order: what goes from one to the next is
// the residual stream of one pass after another, and needs no description. Only the last stage's log-probabilities mean
// anything.
//
// Bit for bit the passes of the whole model: a row's residual stream depends on its sequence and lane alone, and is
// sent as it is.
#ifndef QZO_MODEL_GRAPH_STAGE_PASSES_H_
#define QZO_MODEL_GRAPH_STAGE_PASSES_H_

#include <cstddef>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "model/graph/forward.h"
#include "model/graph/head_rows.h"
#include "model/graph/passes.h"

namespace qzo::model {

// What a stage has around it. Calls may wait; what they return ends the pass.
class StageSeam {
 public:
  virtual ~StageSeam() = default;
  // The residual stream of the next pass, from the stage before: all its rows, one after the other.
  virtual absl::Status Receive(absl::Span<float> rows) = 0;
  // To the stage after.
  virtual absl::Status Send(absl::Span<const float> rows) = 0;
  // The same of rows in a device's memory, which then never reach the host, where the link carries such. `rows` of a
  // send may change when it returns.
  virtual bool receives_on_device() const { return false; }
  virtual absl::Status ReceiveOnDevice(std::byte*, size_t) { return absl::UnimplementedError("by way of the host"); }
  virtual bool sends_on_device() const { return false; }
  virtual absl::Status SendOnDevice(const std::byte*, size_t) { return absl::UnimplementedError("by way of the host"); }
  // Waits until what was sent from the device has arrived: before anything that waits for all that the device does.
  virtual absl::Status SettleOnDevice() { return absl::OkStatus(); }
  // Runs `work` where passes are computed, which may be another thread, and waits until it has ended; after an error it
  // has ended early, or will never begin.
  virtual absl::Status Compute(const std::function<void()>& work) = 0;
};

// FAILED_PRECONDITION: the logits of a part are none.
absl::Status NoLogitsOf(const Model& part);

class StagePasses final : public Passes {
 public:
  // The arguments must outlive it.
  StagePasses(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool,
              kernels::Arithmetic arithmetic, StageSeam* seam)
      : model_(model),
        seam_(*seam),
        forward_(model, kernels, pool, arithmetic),
        head_(model.info(), kernels, pool, &forward_) {}

  absl::Status Run(const Pack& pack, LaneSource* lanes, int64_t first_slot, std::vector<double>* log_probs) override;
  absl::Status Finish(std::vector<double>* log_probs) override;
  absl::StatusOr<std::vector<float>> Logits(const Pack&, LaneSource*) override { return NoLogitsOf(model_); }
  int64_t bytes() const override { return forward_.bytes() + head_.bytes() + rows_.bytes(); }

 private:
  const Model& model_;
  StageSeam& seam_;
  Forward forward_;
  HeadRows head_;
  Buffer rows_;  // the residual stream as it came, then as it goes
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_STAGE_PASSES_H_
