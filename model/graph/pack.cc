#include "model/graph/pack.h"

#include <algorithm>

namespace qzo::model {
namespace {

int32_t Rows(const Pack& pack) { return static_cast<int32_t>(pack.tokens.size()); }

void AppendRow(int32_t token, int32_t position, const kernels::KeySpan& span, Pack* pack) {
  pack->tokens.push_back(token);
  pack->positions.push_back(position);
  pack->spans.push_back(span);
}

// Gives `lane` the rows that no slice has yet.
void CloseSlice(int lane, Pack* pack) {
  const int64_t kept = static_cast<int64_t>(pack->kept.size());
  if (pack->lanes.empty() || pack->lanes.back().lane != lane) {
    const LaneSlice before = pack->lanes.empty() ? LaneSlice{} : pack->lanes.back();
    pack->lanes.push_back({.lane = lane, .begin = before.end, .kept_begin = before.kept_end});
  }
  pack->lanes.back().end = pack->rows();
  pack->lanes.back().kept_end = kept;
}

}  // namespace

void PassRows::Clear() {
  tokens.clear();
  positions.clear();
  spans.clear();
  kept.clear();
  lanes.clear();
}

void Pack::Clear() {
  PassRows::Clear();
  targets.clear();
  slots = 0;
}

int64_t Slots(const Example& example) {
  int64_t slots = 0;
  for (const std::vector<int32_t>& branch : example.branches) slots += static_cast<int64_t>(branch.size());
  return slots;
}

int64_t PackedRows(const Example& example) {
  int64_t rows = static_cast<int64_t>(example.prompt.size());
  for (const std::vector<int32_t>& branch : example.branches) rows += static_cast<int64_t>(branch.size()) - 1;
  return rows;
}

int64_t LongestSequence(const Example& example) {
  size_t longest = 0;
  for (const std::vector<int32_t>& branch : example.branches) longest = std::max(longest, branch.size());
  return static_cast<int64_t>(example.prompt.size() + longest);
}

void AppendSequence(absl::Span<const int32_t> ids, int32_t first_position, Pack* pack) {
  const int32_t begin = Rows(*pack);
  for (const int32_t id : ids) {
    const int32_t row = Rows(*pack);
    AppendRow(id, first_position + row - begin, {0, 0, begin, row + 1}, pack);
    pack->kept.push_back(row);
  }
  CloseSlice(0, pack);
}

void AppendExample(const Example& example, int lane, int32_t first_position, Pack* pack) {
  const auto scored = [&](size_t j) { return example.scored.empty() || example.scored[j] != 0; };
  const int32_t begin = Rows(*pack);
  for (const int32_t token : example.prompt) {
    const int32_t row = Rows(*pack);
    AppendRow(token, first_position + row - begin, {0, 0, begin, row + 1}, pack);
  }
  const int32_t end = Rows(*pack);
  // The last prompt row predicts the first token of every branch, so those targets come before all others.
  int64_t slot = pack->slots;
  if (scored(0)) {
    for (const std::vector<int32_t>& branch : example.branches) {
      pack->targets.push_back({static_cast<int64_t>(pack->kept.size()), branch[0], slot});
      slot += static_cast<int64_t>(branch.size());
    }
    pack->kept.push_back(end - 1);
  }
  for (const std::vector<int32_t>& branch : example.branches) {
    const int32_t own = Rows(*pack);
    for (size_t j = 1; j < branch.size(); ++j) {
      const int32_t row = Rows(*pack);
      AppendRow(branch[j - 1], first_position + end - begin + (row - own), {begin, end, own, row + 1}, pack);
      if (!scored(j)) continue;
      pack->targets.push_back(
          {static_cast<int64_t>(pack->kept.size()), branch[j], pack->slots + static_cast<int64_t>(j)});
      pack->kept.push_back(row);
    }
    pack->slots += static_cast<int64_t>(branch.size());
  }
  CloseSlice(lane, pack);
}

}  // namespace qzo::model
