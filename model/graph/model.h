// A loaded base model: mapped weights, tables and tokenizer. Immutable and thread-safe; shared by every job on a
// worker.
#ifndef QZO_MODEL_GRAPH_MODEL_H_
#define QZO_MODEL_GRAPH_MODEL_H_

#include <compare>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "kernels/rope_table.h"
#include "model/formats/checkpoint_info.h"
#include "model/formats/gguf.h"
#include "model/formats/model_info.h"
#include "model/graph/packed_layer.h"
#include "model/graph/repack.h"
#include "model/tokenizer/tokenizer.h"

namespace qzo::model {

// A linear layer: rows [first_row, first_row + rows) of a trained tensor of the block.
struct LinearLayer : kernels::WeightMatrix {
  int part = 0;  // of the block's trained tensors
  int64_t first_row = 0;
  std::vector<float> bias;  // [rows] or empty
  int bias_deltas = -1;     // place of the bias, of which it is rows [first_row, …), among ModelInfo::unquantized
};

struct NormWeights {
  std::vector<float> weight;
  std::vector<float> bias;  // of a layer norm
  int weight_deltas = -1;   // their places among ModelInfo::unquantized
  int bias_deltas = -1;
};

// One transformer block. What an architecture does not have is empty.
struct Layer {
  NormWeights attention_norm;  // [embedding_length]
  NormWeights post_attention_norm;
  NormWeights feed_forward_norm;
  NormWeights post_feed_forward_norm;
  NormWeights q_norm, k_norm;  // [head_dim]
  LinearLayer q, k, v, attention_output, gate, up, down;
  int trained_base = 0;                        // ordinal in the partition of the first trained tensor
  std::vector<kernels::WeightMatrix> trained;  // whole, in the partition's order
  bool local = false;                          // sees info().window positions
};

// Layers [begin, end); by default all.
struct LayerRange {
  int32_t begin = 0;
  int32_t end = std::numeric_limits<int32_t>::max();

  friend auto operator<=>(const LayerRange&, const LayerRange&) = default;
};

// All of a model, or what one stage of a pipeline holds of it: the layers of a range, the embedding with the first of
// them, the output norm and the head with the last. `info` is of the whole either way.
class Model {
 public:
  // Of any path that OpenModelFiles takes. Possible errors: its own, those of ReadModelInfo or ReadCheckpointInfo, and
  // of MakeTokenizer. Nothing of what the range leaves out is read. INVALID_ARGUMENT for a range that is empty or of
  // other layers than the model has.
  // What has to be repacked is mapped from files in `packed`, for all workers of a host, or where that fails held by
  // the model itself.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& path, LayerRange range = {},
                                                     const PackedLayers* packed = nullptr);
  static absl::StatusOr<std::unique_ptr<Model>> Load(std::unique_ptr<GgufFile> file, LayerRange range = {});
  // Quantized layers are repacked (repack.h), plain ones stay in the mapping. Possible errors: those of
  // ReadCheckpointInfo.
  static absl::StatusOr<std::unique_ptr<Model>> Load(std::unique_ptr<Checkpoint> checkpoint,
                                                     std::unique_ptr<Tokenizer> tokenizer, LayerRange range = {},
                                                     const PackedLayers* packed = nullptr);

  // The file, of a model that was loaded from a GGUF file.
  bool from_gguf() const { return file_ != nullptr; }
  const GgufFile& file() const;
  const Checkpoint& checkpoint() const;  // else
  const std::string& path() const;
  // What adapters name the model by: SHA-256 of the file, or Checkpoint::Digest. Reads all of it.
  std::string Digest() const;
  // Bytes mapped, less those that were given back, and repacked: of a range, those of its tensors.
  int64_t resident_bytes() const;
  const ModelInfo& info() const { return info_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  LayerRange range() const { return range_; }
  bool has_first_layer() const { return range_.begin == 0; }
  bool has_last_layer() const { return range_.end == info_.layers; }
  bool whole() const { return has_first_layer() && has_last_layer(); }
  absl::Span<const Layer> layers() const { return layers_; }  // of the range
  const Layer& layer(int index) const { return layers_.at(static_cast<size_t>(index - range_.begin)); }
  // Where the range has no use for one of these, it has no rows.
  const kernels::WeightMatrix& embedding() const { return embedding_; }
  const kernels::WeightMatrix& head() const { return head_; }
  const kernels::WeightMatrix& positions() const { return positions_; }  // no rows with rotary embedding
  const NormWeights& output_norm() const { return output_norm_; }
  const kernels::RopeTable& rope() const { return rope_; }  // as MakeRopeTable makes it
  const kernels::RopeTable& local_rope() const { return info_.local_rope.has_value() ? local_rope_ : rope_; }
  // The absolute mode's units u = 1 / stored scale, 0 where the scale is 0, of trained tensor `ordinal` in partition
  // order for `granularity` (kGroup: one per scale group; kChannel: only for tensors with one group a row).
  // FAILED_PRECONDITION for plain floats, which have no scale, for kChannel with several groups a row, and for scales
  // that are not finite.
  absl::StatusOr<std::vector<float>> Units(int ordinal, method::Granularity granularity) const;

 private:
  // The matrix, or as one row the vector, of a name that `info_` has.
  using Find = std::function<kernels::WeightMatrix(const std::string& name)>;

  Model() = default;
  absl::Status SetRange(LayerRange range);
  absl::Status Build(const Find& find);
  // Sets the views of those of all `linears` that the range has and that have to be repacked.
  absl::Status OpenPacked(const PackedLayers& files, absl::Span<const CheckpointLinear> linears,
                          std::vector<std::optional<PackedView>>* views);
  NormWeights MakeNorm(const TensorNames& names, const Find& find) const;
  Layer MakeLayer(int index, const Find& find) const;
  const kernels::WeightMatrix& Trained(int ordinal) const;
  kernels::WeightMatrix Add(const CheckpointLinear& linear);
  // Gives back the memory of what was copied.
  void Release(const CheckpointLinear& linear) const;

  std::unique_ptr<GgufFile> file_;  // or
  std::unique_ptr<Checkpoint> checkpoint_;
  std::vector<PackedLinear> packed_;                         // what the checkpoint's layers need beside the mapping
  std::vector<std::unique_ptr<PackedLayer>> packed_layers_;  // the same, in files
  ModelInfo info_;
  LayerRange range_;
  int64_t mapped_bytes_ = 0;  // of tensors that were found
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<Layer> layers_;
  kernels::WeightMatrix embedding_;
  kernels::WeightMatrix head_;
  kernels::WeightMatrix positions_;
  NormWeights output_norm_;
  kernels::RopeTable rope_, local_rope_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_MODEL_H_
