#include "model/graph/gpu_tables.h"

#include <algorithm>
#include <bit>
#include <initializer_list>

namespace qzo::model {
namespace {

using kernels::cuda::kQueryTile;
using kernels::cuda::kStripRows;
using kernels::cuda::QueryTile;
using kernels::cuda::Strip;

constexpr int kStripsOfChunk = kGpuHeadRows / kStripRows;

// Rows [begin, end) of lane `lane` in strips.
template <typename Each>
void ForEachStrip(int64_t begin, int64_t end, int lane, Each&& each) {
  for (int64_t row = begin; row < end; row += kStripRows) {
    each(Strip{static_cast<int32_t>(row), static_cast<int32_t>(std::min<int64_t>(kStripRows, end - row)), lane});
  }
}

template <typename Each>
void ForEachStrip(const Pack& pack, bool kept, Each&& each) {
  for (size_t i = 0; i < pack.lanes.size(); ++i) {
    const LaneSlice& slice = pack.lanes[i];
    ForEachStrip(kept ? slice.kept_begin : slice.begin, kept ? slice.kept_end : slice.end, static_cast<int>(i), each);
  }
}

// Consecutive rows that share prefix and beginning, at most 64.
template <typename SpanOf, typename Each>
void ForEachTile(size_t rows, SpanOf&& span_of, Each&& each) {
  for (size_t begin = 0; begin < rows;) {
    const kernels::KeySpan& first = span_of(begin);
    size_t end = begin + 1;
    for (; end < rows && end - begin < kQueryTile; ++end) {
      const kernels::KeySpan& span = span_of(end);
      if (span.prefix_begin != first.prefix_begin || span.prefix_end != first.prefix_end ||
          span.own_begin != first.own_begin) {
        break;
      }
    }
    each(QueryTile{static_cast<int32_t>(begin), static_cast<int32_t>(end - begin)});
    begin = end;
  }
}
template <typename Each>
void ForEachTile(const Pack& pack, bool kept, Each&& each) {
  if (!kept) {
    ForEachTile(
        pack.spans.size(), [&](size_t i) -> const kernels::KeySpan& { return pack.spans[i]; }, each);
  } else {
    ForEachTile(
        pack.kept.size(),
        [&](size_t i) -> const kernels::KeySpan& { return pack.spans[static_cast<size_t>(pack.kept[i])]; }, each);
  }
}

int Room(int64_t count, int least) {
  return std::max(least, static_cast<int>(std::bit_ceil(static_cast<uint64_t>(count))));
}

}  // namespace

GpuCapacity GpuCapacity::Of(const Pack& pack) {
  int strips[2] = {}, tiles[2] = {};
  for (const bool kept : {false, true}) {
    ForEachStrip(pack, kept, [&](const Strip&) { ++strips[kept ? 1 : 0]; });
    ForEachTile(pack, kept, [&](const QueryTile&) { ++tiles[kept ? 1 : 0]; });
  }
  return {.rows = Room(pack.rows(), 16),
          .kept = Room(static_cast<int64_t>(pack.kept.size()), 16),
          .strips = Room(strips[0], 2),
          .kept_strips = Room(strips[1], 2),
          .tiles = Room(tiles[0], 1),
          .kept_tiles = Room(tiles[1], 1),
          .targets = Room(static_cast<int64_t>(pack.targets.size()), 16),
          .lanes = Room(static_cast<int64_t>(pack.lanes.size()), 1)};
}

int64_t GpuCapacity::Key() const {
  int64_t key = 0;
  for (const int size : {rows, kept, strips, kept_strips, tiles, kept_tiles, targets, lanes}) {
    key = key << 5 | std::countr_zero(static_cast<unsigned>(size));
  }
  return key;
}

GpuTables::GpuTables(const GpuCapacity& c) {
  GpuLayout layout;
  counts = layout.Add<int32_t>(kChunks + 2 * c.head_chunks());
  tokens = layout.Add<int32_t>(c.rows);
  positions = layout.Add<int32_t>(c.rows);
  spans = layout.Add<kernels::KeySpan>(c.rows);
  row_lanes = layout.Add<int32_t>(c.rows);
  kept = layout.Add<int32_t>(c.kept);
  kept_positions = layout.Add<int32_t>(c.kept);
  kept_spans = layout.Add<kernels::KeySpan>(c.kept);
  kept_lanes = layout.Add<int32_t>(c.kept);
  strips = layout.Add<Strip>(c.strips);
  kept_strips = layout.Add<Strip>(c.kept_strips);
  tiles = layout.Add<QueryTile>(c.tiles);
  kept_tiles = layout.Add<QueryTile>(c.kept_tiles);
  chunk_strips = layout.Add<Strip>(c.head_chunks() * kStripsOfChunk);
  lanes = layout.Add<kernels::cuda::LaneNoise>(c.lanes);
  targets = layout.Add<kernels::cuda::ChosenToken>(c.targets);
  bytes = layout.bytes();
}

void GpuTables::Write(const GpuCapacity& capacity, const Pack& pack, const GpuMemory& to) const {
  int32_t* count = to.at<int32_t>(counts);
  count[kRows] = static_cast<int32_t>(pack.rows());
  count[kKept] = static_cast<int32_t>(pack.kept.size());
  std::copy(pack.tokens.begin(), pack.tokens.end(), to.at<int32_t>(tokens));
  std::copy(pack.positions.begin(), pack.positions.end(), to.at<int32_t>(positions));
  std::copy(pack.spans.begin(), pack.spans.end(), to.at<kernels::KeySpan>(spans));
  std::copy(pack.kept.begin(), pack.kept.end(), to.at<int32_t>(kept));
  for (size_t i = 0; i < pack.kept.size(); ++i) {
    const size_t row = static_cast<size_t>(pack.kept[i]);
    to.at<int32_t>(kept_positions)[i] = pack.positions[row];
    to.at<kernels::KeySpan>(kept_spans)[i] = pack.spans[row];
  }
  count[kLanes] = static_cast<int32_t>(pack.lanes.size());
  for (size_t i = 0; i < pack.lanes.size(); ++i) {
    const LaneSlice& slice = pack.lanes[i];
    const auto lane = static_cast<int32_t>(i);
    std::fill(to.at<int32_t>(row_lanes) + slice.begin, to.at<int32_t>(row_lanes) + slice.end, lane);
    std::fill(to.at<int32_t>(kept_lanes) + slice.kept_begin, to.at<int32_t>(kept_lanes) + slice.kept_end, lane);
  }
  for (const bool of_kept : {false, true}) {
    Strip* strip = to.at<Strip>(of_kept ? kept_strips : strips);
    QueryTile* tile = to.at<QueryTile>(of_kept ? kept_tiles : tiles);
    int32_t &strip_count = count[of_kept ? kKeptStrips : kStrips], &tile_count = count[of_kept ? kKeptTiles : kTiles];
    strip_count = tile_count = 0;
    ForEachStrip(pack, of_kept, [&](const Strip& s) { strip[strip_count++] = s; });
    ForEachTile(pack, of_kept, [&](const QueryTile& t) { tile[tile_count++] = t; });
  }
  for (int chunk = 0; chunk < capacity.head_chunks(); ++chunk) {
    const int left = count[kKept] - chunk * kGpuHeadRows;
    int32_t &rows = count[kChunks + 2 * chunk], &strip_count = count[kChunks + 2 * chunk + 1];
    rows = std::clamp(left, 0, kGpuHeadRows);
    strip_count = 0;
    Strip* strip = to.at<Strip>(chunk_strips) + chunk * kStripsOfChunk;
    ForEachStrip(0, rows, 0, [&](const Strip& s) { strip[strip_count++] = s; });
  }
  count[kTargets] = static_cast<int32_t>(pack.targets.size());
  for (size_t i = 0; i < pack.targets.size(); ++i) {
    to.at<kernels::cuda::ChosenToken>(targets)[i] = {static_cast<int32_t>(pack.targets[i].kept), pack.targets[i].token,
                                                     static_cast<int32_t>(i)};
  }
}

}  // namespace qzo::model
