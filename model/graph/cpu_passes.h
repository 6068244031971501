// Forward passes of a whole model by the kernels of this machine's processor.
#ifndef QZO_MODEL_GRAPH_CPU_PASSES_H_
#define QZO_MODEL_GRAPH_CPU_PASSES_H_

#include <vector>

#include "model/graph/forward.h"
#include "model/graph/head_rows.h"
#include "model/graph/passes.h"

namespace qzo::model {

class CpuPasses final : public Passes {
 public:
  // The arguments must outlive it.
  CpuPasses(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool,
            kernels::Arithmetic arithmetic);

  absl::Status Run(const Pack& pack, LaneSource* lanes, int64_t first_slot, std::vector<double>* log_probs) override;
  absl::Status Finish(std::vector<double>* log_probs) override;
  absl::StatusOr<std::vector<float>> Logits(const Pack& pack, LaneSource* lanes) override;
  int64_t bytes() const override;

 private:
  const ModelInfo& info_;
  Forward forward_;
  HeadRows head_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_CPU_PASSES_H_
