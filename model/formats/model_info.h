// What a model file holds, without computing anything: shapes, types, and the tensors that can be trained. The
// coordinator plans and validates with it; model/graph loads weights with it.
#ifndef QZO_MODEL_FORMATS_MODEL_INFO_H_
#define QZO_MODEL_FORMATS_MODEL_INFO_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "method/partition.h"
#include "model/formats/gguf.h"

namespace qzo::model {

// Token rows of a forward pass unless asked for otherwise: enough to pay for decoding the weights, few enough for their
// activations to stay in the caches.
inline constexpr int64_t kPassRows = 512;

// What a forward pass holds besides its matrices: logits of this many rows at once, and per row its token, position,
// keys and place among the rows kept.
inline constexpr int64_t kHeadRows = 64;
inline constexpr int64_t kRowBookkeepingBytes = 128;
// Of 32 values that were rounded for products in integers (kernels/integer.h): the larger of int16's and int8's.
inline constexpr int64_t kRoundedBlockBytes = 80;

// Which two elements of a head rotary embedding turns: (2i, 2i + 1), or (i, i + rotary_dim / 2).
enum class RopeLayout : uint8_t { kAdjacent, kHalves };

// Llama 3.1's scaling of rotary frequencies: those that turn fewer than `low` times within `context` positions are
// divided by `factor`, those that turn more than `high` times are not, and between the two the divisor's inverse is
// linear.
struct Llama3Scaling {
  double factor = 1;
  double low = 1;
  double high = 4;
  int32_t context = 0;
};

struct ModelInfo {
  std::string architecture;  // "llama"
  int32_t layers = 0;
  int32_t embedding_length = 0;
  int32_t feed_forward_length = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t rotary_dim = 0;
  int32_t vocabulary = 0;
  int32_t context_length = 0;
  float norm_epsilon = 0;
  float rope_base = 0;
  RopeLayout rope_layout = RopeLayout::kAdjacent;
  std::optional<Llama3Scaling> rope_scaling;
  bool tied_head = false;  // no output.weight: the head is the embedding
  int64_t parameters = 0;
  int64_t file_bytes = 0;
  std::map<std::string, int32_t> tensor_types;  // tensors per storage type
  // The linear layers of the blocks in layer order, within a layer attn_q, attn_k, attn_v, attn_output, ffn_gate,
  // ffn_up, ffn_down: the partition's order. `group` is the storage type's scale group, or cols for plain floats.
  std::vector<method::TensorShape> trained;

  // Bytes of the activations of a forward pass over `rows` token rows (model/graph's arena), for planning memory.
  int64_t ActivationBytes(int64_t rows) const;
};

// Possible errors: INVALID_ARGUMENT naming the key or tensor (missing, wrong shape, storage type or architecture that
// is not supported, with what is).
absl::StatusOr<ModelInfo> ReadModelInfo(const GgufFile& file);

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_MODEL_INFO_H_
