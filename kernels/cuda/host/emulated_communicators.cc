#include "kernels/cuda/host/emulated_communicators.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace qzo::kernels::cuda {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(1);

}  // namespace

struct EmulatedCommunicators::Pair {
  base::Mutex mu;
  base::CondVar changed;
  bool joined[2] ABSL_GUARDED_BY(mu) = {};
  bool left[2] ABSL_GUARDED_BY(mu) = {};
  std::optional<std::vector<std::byte>> sent ABSL_GUARDED_BY(mu);
};

class EmulatedCommunicators::End final : public Communicator {
 public:
  End(EmulatedCommunicators* all, std::shared_ptr<Pair> pair, int rank)
      : all_(*all), pair_(std::move(pair)), rank_(rank) {}
  ~End() override {
    if (receiving_ != nullptr) std::fill_n(receiving_, receiving_bytes_, std::byte{0xff});  // as NCCL may until now
    base::MutexLock lock(&pair_->mu);
    pair_->left[rank_] = true;
    pair_->changed.SignalAll();
  }

  absl::Status WaitForOther(const Interrupt& interrupt) {
    base::MutexLock lock(&pair_->mu);
    while (!pair_->joined[1 - rank_]) QZO_RETURN_IF_ERROR(Wait(interrupt));
    return absl::OkStatus();
  }

  absl::Status Send(const std::byte* from, size_t bytes, const Interrupt& interrupt) override {
    if (rank_ != 0) return absl::InternalError("emulated communicator: rank 1 sends");
    QZO_RETURN_IF_ERROR(Settle(interrupt));
    base::MutexLock lock(&pair_->mu);
    pair_->sent.emplace(from, from + bytes);
    pair_->changed.SignalAll();
    return absl::OkStatus();
  }

  absl::Status Settle(const Interrupt& interrupt) override {
    base::MutexLock lock(&pair_->mu);
    while (pair_->sent) QZO_RETURN_IF_ERROR(Wait(interrupt));
    return absl::OkStatus();
  }

  absl::Status Receive(std::byte* to, size_t bytes, const Interrupt& interrupt) override {
    if (rank_ != 1) return absl::InternalError("emulated communicator: rank 0 receives");
    receiving_ = to;
    receiving_bytes_ = bytes;
    base::MutexLock lock(&pair_->mu);
    while (!pair_->sent || all_.stalled_) QZO_RETURN_IF_ERROR(Wait(interrupt));
    if (pair_->sent->size() != bytes) {
      return absl::InternalError(
          absl::StrCat("emulated communicator: ", bytes, " bytes expected, ", pair_->sent->size(), " sent"));
    }
    std::copy(pair_->sent->begin(), pair_->sent->end(), to);
    receiving_ = nullptr;
    pair_->sent.reset();
    all_.bytes_ += static_cast<int64_t>(bytes);
    pair_->changed.SignalAll();
    return absl::OkStatus();
  }

 private:
  absl::Status Wait(const Interrupt& interrupt) ABSL_EXCLUSIVE_LOCKS_REQUIRED(pair_->mu) {
    if (pair_->left[1 - rank_]) return absl::UnavailableError("emulated communicator: the other end has gone");
    pair_->changed.WaitFor(&pair_->mu, kPoll);
    return interrupt();
  }

  EmulatedCommunicators& all_;
  const std::shared_ptr<Pair> pair_;
  const int rank_;
  std::byte* receiving_ = nullptr;
  size_t receiving_bytes_ = 0;
};

absl::StatusOr<std::string> EmulatedCommunicators::NewId() {
  base::MutexLock lock(&mu_);
  std::string id = absl::StrCat("emulated ", ids_++);
  pairs_[id] = std::make_shared<Pair>();
  return id;
}

absl::StatusOr<std::unique_ptr<Communicator>> EmulatedCommunicators::Join(const std::string& id, int rank,
                                                                          const Interrupt& interrupt) {
  std::shared_ptr<Pair> pair;
  {
    base::MutexLock lock(&mu_);
    const auto found = pairs_.find(id);
    if (found == pairs_.end()) return absl::InvalidArgumentError(absl::StrCat("emulated communicator: no id: ", id));
    pair = found->second;
  }
  {
    base::MutexLock lock(&pair->mu);
    if (std::exchange(pair->joined[rank], true)) return absl::InternalError("emulated communicator: a rank twice");
    pair->changed.SignalAll();
  }
  auto end = std::make_unique<End>(this, std::move(pair), rank);
  QZO_RETURN_IF_ERROR(end->WaitForOther(interrupt));
  return end;
}

}  // namespace qzo::kernels::cuda
