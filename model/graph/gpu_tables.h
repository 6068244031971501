// What a pass tells a GPU besides activations: tokens, spans, strips and counts, in one block of memory that is copied
// at once. Sizes are rounded up to powers of two, so that passes of similar size share a graph.
#ifndef QZO_MODEL_GRAPH_GPU_TABLES_H_
#define QZO_MODEL_GRAPH_GPU_TABLES_H_

#include <cstdint>

#include "kernels/cuda/ops.h"
#include "model/graph/gpu_memory.h"
#include "model/graph/pack.h"

namespace qzo::model {

inline constexpr int kGpuHeadRows = 512;  // rows of logits held at once; whole strips

// What the arrays have room for.
struct GpuCapacity {
  int rows = 0;
  int kept = 0;
  int strips = 0;
  int kept_strips = 0;
  int tiles = 0;
  int kept_tiles = 0;
  int targets = 0;
  int lanes = 0;

  static GpuCapacity Of(const Pack& pack);
  int head_chunks() const { return (kept + kGpuHeadRows - 1) / kGpuHeadRows; }
  static constexpr int kKeyBits = 40;
  int64_t Key() const;  // different for different capacities

  friend bool operator==(const GpuCapacity&, const GpuCapacity&) = default;
};

// Places of the arrays in the block.
struct GpuTables {
  explicit GpuTables(const GpuCapacity& capacity);

  enum Count { kRows, kKept, kStrips, kKeptStrips, kTiles, kKeptTiles, kTargets, kLanes, kChunks };
  // From kChunks on, of each chunk of the head: rows, strips.
  size_t counts, tokens, positions, spans, row_lanes, kept, kept_positions, kept_spans, kept_lanes, strips, kept_strips,
      tiles, kept_tiles, chunk_strips, lanes, targets;
  size_t bytes;

  // Writes a pass that the capacity is of. Lanes are numbered as pack.lanes; their directions are the caller's.
  void Write(const GpuCapacity& capacity, const Pack& pack, const GpuMemory& to) const;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_GPU_TABLES_H_
