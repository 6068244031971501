#include "worker/stage.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace qzo::worker {
namespace {

// For what has been announced: its sender waits for nothing else. Longer, and the network between the devices is to
// blame.
constexpr absl::Duration kCommunicatorTimeout = absl::Minutes(1);
constexpr int64_t kFrameFloats = (int64_t{1} << 20) / static_cast<int64_t>(sizeof(float));  // common.proto's limit

std::string Bytes(absl::Span<const float> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

absl::Status CheckPlan(const v1::StagePlan& plan) {
  const auto bad = [](const auto&... parts) { return absl::InvalidArgumentError(absl::StrCat("stage.", parts...)); };
  if (plan.index() >= plan.count()) return bad("index: ", plan.index(), ", expected below ", plan.count());
  if (plan.first_layer() >= plan.end_layer() || plan.end_layer() > (1u << 30)) {
    return bad("end_layer: ", plan.end_layer(), ", expected more than ", plan.first_layer());
  }
  if (plan.pass_rows() == 0) return bad("pass_rows: 0, expected at least 1");
  if (plan.secret().empty()) return bad("secret: none");
  const bool last = plan.index() + 1 == plan.count();
  if (last != plan.next_address().empty()) {
    return bad("next_address: '", plan.next_address(), "', expected ", last ? "none" : "one", " at stage ",
               plan.index(), " of ", plan.count());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Stage>> Stage::Open(const v1::StagePlan& plan, const Surroundings& around,
                                                   const std::function<void()>& link_ended) {
  QZO_RETURN_IF_ERROR(CheckPlan(plan));
  if ((plan.nccl_previous() || plan.nccl_next()) && around.communicators == nullptr) {
    return absl::FailedPreconditionError("stage.nccl_previous, stage.nccl_next: this worker has no NCCL");
  }
  std::unique_ptr<Stage> stage(new Stage(plan, around));
  if (!stage->first()) stage->before_ = around.transport->Accept(plan, link_ended);
  if (!stage->last()) {
    QZO_ASSIGN_OR_RETURN(stage->after_, around.transport->Dial(plan, link_ended));
  }
  return stage;
}

absl::Status Stage::Annotated(const absl::Status& status, const char* neighbour) const {
  if (status.ok() || absl::IsCancelled(status)) return status;
  return {status.code(), absl::StrCat("link of stage ", plan_.index() + 1, " of ", plan_.count(), " to the ", neighbour,
                                      " stage: ", std::string(status.message()))};
}

absl::Status Stage::Connect() {
  if (after_ != nullptr) QZO_RETURN_IF_ERROR(Annotated(after_->Connect(), "next"));
  if (before_ != nullptr) QZO_RETURN_IF_ERROR(Annotated(before_->Connect(), "previous"));
  return JoinCommunicators();
}

// From the first stage on, one after the other: a stage passes an id to the next when the one before has had its own.
absl::Status Stage::JoinCommunicators() {
  if (plan_.nccl_previous()) {
    QZO_ASSIGN_OR_RETURN(const v1::StageFrame frame, Next(v1::StageFrame::kCommunicator));
    absl::StatusOr<std::unique_ptr<kernels::cuda::Communicator>> joined =
        communicators_->Join(frame.communicator().nccl_id(), 1, UntilLate("communicator"));
    if (!joined.ok()) return Annotated(joined.status(), "previous");
    from_previous_ = *std::move(joined);
  }
  if (plan_.nccl_next()) {
    QZO_ASSIGN_OR_RETURN(const std::string id, communicators_->NewId());
    v1::StageFrame frame;
    frame.mutable_communicator()->set_nccl_id(id);
    QZO_RETURN_IF_ERROR(Pass(std::move(frame)));
    absl::StatusOr<std::unique_ptr<kernels::cuda::Communicator>> joined = communicators_->Join(id, 0, WhileLinked());
    if (!joined.ok()) return Annotated(joined.status(), "next");
    to_next_ = *std::move(joined);
  }
  return absl::OkStatus();
}

absl::Status Stage::Waited(const std::function<absl::Status()>& wait) {
  const absl::Duration begin = clock_.Monotonic();
  absl::Status status = wait();
  metrics_.stage_wait.Increment(absl::ToDoubleSeconds(clock_.Monotonic() - begin));
  return status;
}

kernels::cuda::Interrupt Stage::UntilLate(const char* what) const {
  return [this, what, deadline = clock_.Monotonic() + kCommunicatorTimeout] {
    if (clock_.Monotonic() < deadline) return before_->status();
    return absl::DeadlineExceededError(absl::StrCat("NCCL: the ", what, " that it announced did not come within ",
                                                    absl::FormatDuration(kCommunicatorTimeout)));
  };
}

absl::StatusOr<v1::StageFrame> Stage::Next(v1::StageFrame::FrameCase expected) {
  absl::StatusOr<v1::StageFrame> frame;
  const absl::Status status = Waited([&] { return (frame = before_->Receive()).status(); });
  if (!status.ok()) return Annotated(status, "previous");
  if (frame->frame_case() == expected) return frame;
  return Annotated(absl::InvalidArgumentError(absl::StrCat("frame of kind ", static_cast<int>(frame->frame_case()),
                                                           ", expected kind ", static_cast<int>(expected))),
                   "previous");
}

absl::Status Stage::Pass(v1::StageFrame frame) {
  metrics_.stage_sent_bytes.Increment(static_cast<double>(frame.ByteSizeLong()));  // before the next stage may answer
  return Annotated(Waited([&] { return after_->Send(std::move(frame)); }), "next");
}

absl::StatusOr<uint64_t> Stage::Begin(uint32_t step, uint64_t own) {
  uint64_t sum = own;
  if (!first()) {
    QZO_ASSIGN_OR_RETURN(const v1::StageFrame frame, Next(v1::StageFrame::kBegin));
    if (frame.begin().step() != step) {
      return absl::AbortedError(
          absl::StrCat("out of step: the stage before is at step ", frame.begin().step(), ", this one at ", step));
    }
    sum += frame.begin().digest();
  }
  if (last()) return sum;
  v1::StageFrame frame;
  frame.mutable_begin()->set_step(step);
  frame.mutable_begin()->set_digest(sum);
  QZO_RETURN_IF_ERROR(Pass(std::move(frame)));
  return sum;
}

absl::Status Stage::Receive(absl::Span<float> rows) {
  const int64_t all = static_cast<int64_t>(rows.size());
  for (int64_t filled = 0; filled < all;) {
    QZO_ASSIGN_OR_RETURN(const v1::StageFrame frame, Next(v1::StageFrame::kRows));
    const std::string& values = frame.rows().values();
    const int64_t row_bytes = embedding_length_ * static_cast<int64_t>(sizeof(float));
    const int64_t bytes = static_cast<int64_t>(values.size());
    const int64_t row = filled / embedding_length_;
    if (frame.rows().row() != row || bytes == 0 || bytes % row_bytes != 0 ||
        filled + bytes / static_cast<int64_t>(sizeof(float)) > all) {
      return absl::InvalidArgumentError(absl::StrCat("stage ", plan_.index() + 1, " of ", plan_.count(), " got ", bytes,
                                                     " bytes of rows from row ", frame.rows().row(),
                                                     " on, expected rows of ", row_bytes, " bytes from row ", row,
                                                     " on, of a pass of ", all / embedding_length_));
    }
    std::memcpy(rows.data() + filled, values.data(), values.size());
    filled += bytes / static_cast<int64_t>(sizeof(float));
  }
  return absl::OkStatus();
}

absl::Status Stage::Send(absl::Span<const float> rows) {
  const size_t row = static_cast<size_t>(embedding_length_);
  const size_t most = row * static_cast<size_t>(std::max<int64_t>(1, kFrameFloats / embedding_length_));
  for (size_t sent = 0; sent < rows.size(); sent += most) {
    v1::StageFrame frame;
    frame.mutable_rows()->set_row(static_cast<uint32_t>(sent / row));
    frame.mutable_rows()->set_values(Bytes(rows.subspan(sent, most)));
    QZO_RETURN_IF_ERROR(Pass(std::move(frame)));
  }
  return absl::OkStatus();
}

absl::Status Stage::ReceiveOnDevice(std::byte* rows, size_t bytes) {
  QZO_ASSIGN_OR_RETURN(const v1::StageFrame frame, Next(v1::StageFrame::kDeviceRows));
  if (frame.device_rows().bytes() != bytes) {
    return absl::InvalidArgumentError(absl::StrCat("stage ", plan_.index() + 1, " of ", plan_.count(), " got ",
                                                   frame.device_rows().bytes(), " bytes of rows, expected a pass of ",
                                                   bytes));
  }
  return Annotated(Waited([&] { return from_previous_->Receive(rows, bytes, UntilLate("rows")); }), "previous");
}

// Announced first: the first send of a communicator waits for its receiver. Between the announcement and the send
// nothing is waited for that the receiver does not have, for it has taken all earlier rows when it hears of these.
absl::Status Stage::SendOnDevice(const std::byte* rows, size_t bytes) {
  v1::StageFrame frame;
  frame.mutable_device_rows()->set_bytes(bytes);
  metrics_.stage_sent_bytes.Increment(static_cast<double>(bytes));
  QZO_RETURN_IF_ERROR(Pass(std::move(frame)));
  return Annotated(Waited([&] { return to_next_->Send(rows, bytes, WhileLinked()); }), "next");
}

absl::Status Stage::SettleOnDevice() {
  if (to_next_ == nullptr) return absl::OkStatus();
  return Annotated(Waited([this] { return to_next_->Settle(WhileLinked()); }), "next");
}

void Stage::Abort() {
  from_previous_.reset();
  to_next_.reset();
}

absl::Status Stage::Compute(const std::function<void()>& work) {
  return turns_.Run([&] {
    const absl::Duration begin = clock_.Monotonic();
    work();
    metrics_.stage_busy.Increment(absl::ToDoubleSeconds(clock_.Monotonic() - begin));
  });
}

absl::Status Stage::SendMultipliers(uint32_t step, absl::Span<const float> values) {
  const size_t most = static_cast<size_t>(kFrameFloats);
  for (size_t sent = 0; sent < values.size(); sent += most) {
    v1::StageFrame frame;
    frame.mutable_multipliers()->set_step(step);
    frame.mutable_multipliers()->set_values(Bytes(values.subspan(sent, most)));
    frame.mutable_multipliers()->set_more(sent + most < values.size());
    QZO_RETURN_IF_ERROR(Pass(std::move(frame)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> Stage::Collect(uint32_t step, int64_t earlier, absl::Span<const float> own) {
  std::vector<float> all;
  for (int64_t left = earlier; left > 0;) {
    QZO_ASSIGN_OR_RETURN(v1::StageFrame frame, Next(v1::StageFrame::kMultipliers));
    v1::StageFrame::Multipliers& part = *frame.mutable_multipliers();
    const int64_t floats = static_cast<int64_t>(part.values().size() / sizeof(float));
    left -= floats;
    if (part.step() != step || part.values().size() % sizeof(float) != 0 || floats == 0 || left < 0 ||
        part.more() != (left > 0)) {
      return absl::InvalidArgumentError(absl::StrCat("multipliers of step ", part.step(), " that end ",
                                                     part.more() ? "later than" : "at or before", " number ",
                                                     earlier - left, ", expected ", earlier, " of step ", step));
    }
    if (last()) {
      const size_t at = all.size();
      all.resize(at + static_cast<size_t>(floats));
      std::memcpy(all.data() + at, part.values().data(), part.values().size());
    } else {
      part.set_more(true);
      QZO_RETURN_IF_ERROR(Pass(std::move(frame)));
    }
  }
  if (!last()) {
    QZO_RETURN_IF_ERROR(SendMultipliers(step, own));
    return all;
  }
  all.insert(all.end(), own.begin(), own.end());
  return all;
}

void Stage::End() {
  turns_.Stop();
  if (before_ != nullptr) before_->End();
  if (after_ != nullptr) after_->End();
}

absl::Status Stage::link_status() const {
  const absl::Status before = before_ == nullptr ? absl::OkStatus() : Annotated(before_->status(), "previous");
  const absl::Status after = after_ == nullptr ? absl::OkStatus() : Annotated(after_->status(), "next");
  return before.ok() || (absl::IsCancelled(before) && !after.ok()) ? after : before;
}

}  // namespace qzo::worker
