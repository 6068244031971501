// A loaded base model: mapped weights, tables and tokenizer. Immutable and thread-safe; shared by every job on a
// worker.
#ifndef QZO_MODEL_GRAPH_MODEL_H_
#define QZO_MODEL_GRAPH_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/kernels.h"
#include "kernels/rope_table.h"
#include "model/formats/gguf.h"
#include "model/formats/model_info.h"
#include "model/tokenizer/tokenizer.h"

namespace qzo::model {

inline constexpr int kTrainedPerLayer = 7;

// One transformer block. trained_base is the ordinal in the partition of attn_q; the other six follow in ModelInfo's
// order.
struct Layer {
  std::vector<float> attention_norm;  // [embedding_length]
  std::vector<float> feed_forward_norm;
  kernels::WeightMatrix q, k, v, attention_output, gate, up, down;
  int trained_base = 0;
};

class Model {
 public:
  // Possible errors: those of GgufFile::Open, ReadModelInfo and MakeTokenizer.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& path);
  static absl::StatusOr<std::unique_ptr<Model>> Load(std::unique_ptr<GgufFile> file);

  const GgufFile& file() const { return *file_; }
  const ModelInfo& info() const { return info_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  absl::Span<const Layer> layers() const { return layers_; }
  const kernels::WeightMatrix& embedding() const { return embedding_; }
  const kernels::WeightMatrix& head() const { return head_; }
  absl::Span<const float> output_norm() const { return output_norm_; }
  const kernels::RopeTable& rope() const { return rope_; }  // [context_length, rotary_dim / 2]
  // The absolute mode's units u = 1 / stored scale, 0 where the scale is 0, of trained tensor `ordinal` in partition
  // order for `granularity` (kGroup: one per block; kChannel: only for tensors with one group a row).
  // FAILED_PRECONDITION for plain floats, which have no scale, for kChannel with several groups a row, and for scales
  // that are not finite.
  absl::StatusOr<std::vector<float>> Units(int ordinal, method::Granularity granularity) const;

 private:
  Model() = default;
  std::unique_ptr<GgufFile> file_;
  ModelInfo info_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<Layer> layers_;
  kernels::WeightMatrix embedding_;
  kernels::WeightMatrix head_;
  std::vector<float> output_norm_;
  kernels::RopeTable rope_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_MODEL_H_
