// How examples become token rows: prompts once, branches after them, no padding. Pure.
#ifndef QZO_MODEL_GRAPH_PACK_H_
#define QZO_MODEL_GRAPH_PACK_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "model/tasks/example.h"

namespace qzo::model {

// A token whose log-probability is wanted: it is predicted from kept row `kept` and reported in `slot`.
struct Target {
  int64_t kept = 0;
  int32_t token = 0;
  int64_t slot = 0;
};

// The rows of some examples under one lane; every lane packs the same. A branch's last token needs no row: nothing
// follows it.
struct Pack {
  std::vector<int32_t> tokens;
  std::vector<int32_t> positions;
  std::vector<kernels::KeySpan> spans;  // row numbers of this pack
  std::vector<int32_t> kept;            // rows from which a scored token is predicted, ascending
  std::vector<Target> targets;          // ascending in `kept`
  int64_t slots = 0;                    // one per token of every branch, examples and branches in order

  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
  void Clear();
};

// Rows that `example` takes.
int64_t PackedRows(const Example& example);

void AppendExample(const Example& example, Pack* pack);
// A plain sequence, every row kept, without targets.
void AppendSequence(absl::Span<const int32_t> ids, Pack* pack);

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_PACK_H_
