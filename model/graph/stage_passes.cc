#include "model/graph/stage_passes.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace qzo::model {

absl::Status StagePasses::Run(const Pack& pack, LaneSource* lanes, int64_t first_slot, std::vector<double>* log_probs) {
  if (pack.kept.empty()) return absl::OkStatus();
  const int64_t floats = pack.rows() * model_.info().embedding_length;
  float* rows = rows_.Get(floats);
  const float* residual = nullptr;
  if (!model_.has_first_layer()) {
    QZO_RETURN_IF_ERROR(seam_.Receive({rows, static_cast<size_t>(floats)}));
    residual = rows;
  }
  QZO_RETURN_IF_ERROR(seam_.Compute([&] {
    const float* out = forward_.Run(pack, lanes, {}, residual);
    if (model_.has_last_layer()) {
      head_.Add(pack, out, lanes, first_slot, log_probs);
    } else {
      std::copy_n(out, floats, rows);
    }
  }));
  return model_.has_last_layer() ? absl::OkStatus() : seam_.Send({rows, static_cast<size_t>(floats)});
}

absl::Status StagePasses::Finish(std::vector<double>* log_probs) {
  if (head_.empty()) return absl::OkStatus();
  return seam_.Compute([&] { head_.Finish(log_probs); });
}

absl::Status NoLogitsOf(const Model& part) {
  return absl::FailedPreconditionError(
      absl::StrCat("layers [", part.range().begin, ", ", part.range().end, ") have no logits without the others"));
}

}  // namespace qzo::model
