// Layers of checkpoints as the kernels take them: quantized ones as rows of packed codes, made once. Pure and
// thread-safe.
#ifndef QZO_MODEL_GRAPH_REPACK_H_
#define QZO_MODEL_GRAPH_REPACK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/kernels.h"
#include "model/formats/checkpoint_info.h"

namespace qzo::model {

struct PackedLinear {
  kernels::WeightType type = {};
  std::vector<std::byte> bytes;  // [rows, cols] of `type`
  // Column j of a row is the layer's column order[j], so that scale groups are contiguous; empty: j. Within a group
  // columns ascend.
  std::vector<int32_t> order;
  std::vector<float> scales;  // [rows, cols / group] of a type with a codebook, whose codes stay where they are
};

// Of a GPTQ or AWQ layer, as ReadCheckpointInfo has checked it.
PackedLinear Repack(const CheckpointLinear& linear);
// Of a layer with a codebook: its type, and its scales unless they are used where they are mapped.
PackedLinear UnpackScales(const CheckpointLinear& linear);
// Of a plain layer that is stored as [cols, rows].
PackedLinear Transpose(const CheckpointLinear& linear);
// Whichever of these the layer needs: nothing for one that is used where it is mapped.
PackedLinear PackLinear(const CheckpointLinear& linear);

// What was packed, wherever it lies; nullptr for what there is not.
struct PackedView {
  const std::byte* bytes = nullptr;
  const int32_t* order = nullptr;
  const float* scales = nullptr;
};
PackedView ViewOf(const PackedLinear& packed);
// The layer's matrix over its mapping and what was packed, which must outlive it.
kernels::WeightMatrix MatrixOf(const CheckpointLinear& linear, const PackedView& packed);
kernels::WeightMatrix MatrixOf(const SafetensorsTensor& plain);  // a vector has one row

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_REPACK_H_
