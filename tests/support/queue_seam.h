// Stages of a pipeline that run one after the other on one thread, with queues between them.
#ifndef QZO_TESTS_SUPPORT_QUEUE_SEAM_H_
#define QZO_TESTS_SUPPORT_QUEUE_SEAM_H_

#include <algorithm>
#include <cstddef>
#include <deque>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/cuda/backend.h"
#include "model/graph/stage_passes.h"

namespace qzo::testing {

using Passed = std::deque<std::vector<float>>;  // by one stage to the next, pass by pass

// A stage between two queues, on one thread: stages run one after the other. With `gpu`, rows are taken from its memory
// and put there.
class QueueSeam final : public model::StageSeam {
 public:
  QueueSeam(Passed* in, Passed* out, kernels::cuda::Gpu* gpu = nullptr) : in_(in), out_(out), gpu_(gpu) {}
  absl::Status Receive(absl::Span<float> rows) override {
    if (in_->empty()) return absl::UnavailableError("nothing was sent");
    if (in_->front().size() != rows.size()) return absl::InvalidArgumentError("a pass of another size");
    std::copy(in_->front().begin(), in_->front().end(), rows.begin());
    in_->pop_front();
    return absl::OkStatus();
  }
  absl::Status Send(absl::Span<const float> rows) override {
    out_->emplace_back(rows.begin(), rows.end());
    return absl::OkStatus();
  }
  bool receives_on_device() const override { return gpu_ != nullptr; }
  absl::Status ReceiveOnDevice(std::byte* rows, size_t bytes) override {
    std::vector<float> values(bytes / sizeof(float));
    if (absl::Status status = Receive(absl::MakeSpan(values)); !status.ok()) return status;
    gpu_->Upload(rows, reinterpret_cast<const std::byte*>(values.data()), bytes);
    return gpu_->Wait();
  }
  bool sends_on_device() const override { return gpu_ != nullptr; }
  absl::Status SendOnDevice(const std::byte* rows, size_t bytes) override {
    std::vector<float> values(bytes / sizeof(float));
    gpu_->Download(reinterpret_cast<std::byte*>(values.data()), rows, bytes);
    if (absl::Status status = gpu_->Wait(); !status.ok()) return status;
    return Send(values);
  }
  absl::Status Compute(const std::function<void()>& work) override {
    if (no_turns) return absl::CancelledError("no turn");
    work();
    return absl::OkStatus();
  }
  bool no_turns = false;

 private:
  Passed* const in_;
  Passed* const out_;
  kernels::cuda::Gpu* const gpu_;
};

}  // namespace qzo::testing

#endif  // QZO_TESTS_SUPPORT_QUEUE_SEAM_H_
