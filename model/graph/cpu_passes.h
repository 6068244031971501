// Forward passes by the kernels of this machine's processor. Rows that wait for the head are collected over passes: it
// reads many rows at little more than the cost of one.
#ifndef QZO_MODEL_GRAPH_CPU_PASSES_H_
#define QZO_MODEL_GRAPH_CPU_PASSES_H_

#include <vector>

#include "model/graph/forward.h"
#include "model/graph/passes.h"

namespace qzo::model {

class CpuPasses final : public Passes {
 public:
  // The arguments must outlive it.
  CpuPasses(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool,
            kernels::Arithmetic arithmetic)
      : info_(model.info()), kernels_(kernels), pool_(*pool), forward_(model, kernels, pool, arithmetic) {}

  absl::Status Run(const Pack& pack, LaneSource* lanes, int64_t first_slot, std::vector<double>* log_probs) override;
  absl::Status Finish(std::vector<double>* log_probs) override;
  absl::StatusOr<std::vector<float>> Logits(const Pack& pack, LaneSource* lanes) override;
  int64_t bytes() const override;

 private:
  const ModelInfo& info_;
  const kernels::Kernels& kernels_;
  kernels::ThreadPool& pool_;
  Forward forward_;

  // Rows that wait for the head, at most kHeadRows, and what is wanted of them.
  Buffer head_input_;
  int64_t waiting_ = 0;
  std::vector<Target> targets_;
  Buffer logits_;
  std::vector<double> log_sums_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_CPU_PASSES_H_
