// How examples become the token rows of a forward pass: prompts once, branches after them, no padding. Pure.
#ifndef QZO_MODEL_GRAPH_PACK_H_
#define QZO_MODEL_GRAPH_PACK_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "model/tasks/example.h"

namespace qzo::model {

// Rows [begin, end) of a pass belong to `lane`; of the kept rows, those at [kept_begin, kept_end).
struct LaneSlice {
  int lane = 0;
  int64_t begin = 0;
  int64_t end = 0;
  int64_t kept_begin = 0;
  int64_t kept_end = 0;
};

// Rows in lane order. `kept` are those whose final hidden state is wanted, ascending.
struct PassRows {
  std::vector<int32_t> tokens;
  std::vector<int32_t> positions;
  std::vector<kernels::KeySpan> spans;  // rows of this pass, or of the cache where there is one
  std::vector<int32_t> kept;
  std::vector<LaneSlice> lanes;

  void Clear();
  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
};

// A token whose log-probability is wanted: it is predicted from kept row `kept` and reported in `slot`.
struct Target {
  int64_t kept = 0;
  int32_t token = 0;
  int64_t slot = 0;
};

// The rows of some examples under some lanes. A branch's last token needs no row: nothing follows it.
struct Pack : PassRows {
  std::vector<Target> targets;  // ascending in `kept`
  int64_t slots = 0;            // one per token of every branch, in the order of appending

  void Clear();
};

// Rows and slots that `example` takes.
int64_t PackedRows(const Example& example);
int64_t Slots(const Example& example);

// Of the longest sequence in it: prompt and branch.
int64_t LongestSequence(const Example& example);

// Lanes must come in ascending order. Positions count from `first_position` (ModelInfo::FirstPosition).
void AppendExample(const Example& example, int lane, int32_t first_position, Pack* pack);
// A plain sequence under lane 0, every row kept, without targets.
void AppendSequence(absl::Span<const int32_t> ids, int32_t first_position, Pack* pack);

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_PACK_H_
