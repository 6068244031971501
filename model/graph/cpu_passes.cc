#include "model/graph/cpu_passes.h"

#include "base/log.h"

namespace qzo::model {

CpuPasses::CpuPasses(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool,
                     kernels::Arithmetic arithmetic)
    : info_(model.info()), forward_(model, kernels, pool, arithmetic), head_(info_, kernels, pool, &forward_) {
  QZO_CHECK(model.whole());
}

absl::Status CpuPasses::Run(const Pack& pack, LaneSource* lanes, int64_t first_slot, std::vector<double>* log_probs) {
  if (!pack.kept.empty()) head_.Add(pack, forward_.Run(pack, lanes, {}), lanes, first_slot, log_probs);
  return absl::OkStatus();
}

absl::Status CpuPasses::Finish(std::vector<double>* log_probs) {
  head_.Finish(log_probs);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> CpuPasses::Logits(const Pack& pack, LaneSource* lanes) {
  const float* hidden = forward_.Run(pack, lanes, {});
  std::vector<float> logits(pack.kept.size() * static_cast<size_t>(info_.vocabulary));
  forward_.Head(hidden, pack.lanes, lanes, logits.data());
  return logits;
}

int64_t CpuPasses::bytes() const { return forward_.bytes() + head_.bytes(); }

}  // namespace qzo::model
