#include "model/graph/generator.h"

#include "base/status_macros.h"

namespace qzo::model {

absl::Status Generator::Generate(absl::Span<const int32_t> prompt, const SamplingOptions& options,
                                 const std::function<bool(int32_t)>& emit) {
  QZO_ASSIGN_OR_RETURN(const uint64_t text, batch_.Add(prompt, options, lanes_));
  while (!batch_.empty()) {
    for (const GenerationBatch::Progress& progress : batch_.Step()) {
      if (progress.token && !emit(*progress.token)) batch_.Remove(text);
    }
  }
  return absl::OkStatus();
}

}  // namespace qzo::model
