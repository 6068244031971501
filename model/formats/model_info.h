// What a model file holds, without computing anything: shapes, types, and the tensors that can be trained. The
// coordinator plans and validates with it; model/graph loads weights with it.
#ifndef QZO_MODEL_FORMATS_MODEL_INFO_H_
#define QZO_MODEL_FORMATS_MODEL_INFO_H_

#include <cstdint>
#include <functional>
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
// Rows of a head with deltas that are held at once, as fp32.
inline constexpr int64_t kHeadPanelRows = 256;
inline constexpr int64_t kRowBookkeepingBytes = 128;
// Of 32 values that were rounded for products in integers (kernels/integer.h): the larger of int16's and int8's.
inline constexpr int64_t kRoundedBlockBytes = 80;

// Which two elements of a head rotary embedding turns: (2i, 2i + 1), or (i, i + rotary_dim / 2).
enum class RopeLayout : uint8_t { kAdjacent, kHalves };

// How rotary frequencies differ from base^(−2i/rotary_dim): each is divided by a divisor.
//   kLinear   `factor` for all.
//   kLlama3   `factor` where it turns fewer than `low` times within `context` positions, 1 where it turns more than
//   `high`
//             times; between the two the divisor's inverse is linear in the turns.
//   kYarn     likewise between the frequencies that turn `low` and `high` times, but linear in i, between whole
//   numbers;
//             the magnitude is 1 + ln(factor) / 10.
//   kDivisors `divisors`; the magnitude is 1.
//   kLongRope `divisors` in sequences of at most `context` tokens, `long_divisors` in longer ones; the magnitude is
//             √(1 + ln factor / ln context).
enum class RopeScaling : uint8_t { kNone, kLinear, kLlama3, kYarn, kDivisors, kLongRope };

struct Rope {
  float base = 10000;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1;
  double low = 1;
  double high = 4;
  int32_t context = 0;
  std::vector<float> divisors, long_divisors;  // [rotary_dim / 2]; or those of the tensors
  std::string divisors_tensor, long_divisors_tensor;
  double magnitude = 0;  // of cosines and sines; 0: what the scaling prescribes
};

enum class NormKind : uint8_t { kRms, kLayer };
enum class MlpKind : uint8_t { kSiluGated, kGeluGated, kGelu, kRelu };  // GELU by its tanh approximation

// The tensors of a block. kQkv and kGateUp are matrices whose rows are those of the matrices that they stand for.
enum class Part : uint8_t {
  kAttentionNorm,
  kQ,
  kK,
  kV,
  kQkv,
  kAttentionOutput,
  kQNorm,
  kKNorm,
  kPostAttentionNorm,
  kFeedForwardNorm,
  kGate,
  kUp,
  kGateUp,
  kDown,
  kPostFeedForwardNorm,
};

// What a file calls a tensor and, where there is one, its bias.
struct TensorNames {
  std::string weight;
  std::string bias;
};

struct ModelInfo {
  std::string architecture;  // as GGUF calls it
  int32_t layers = 0;
  int32_t embedding_length = 0;
  int32_t feed_forward_length = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t rotary_dim = 0;  // 0: positions are learned
  int32_t vocabulary = 0;
  int32_t context_length = 0;
  NormKind norm = NormKind::kRms;
  float norm_epsilon = 0;
  float norm_shift = 0;  // added to stored norm weights
  MlpKind mlp = MlpKind::kSiluGated;
  bool gated() const { return mlp == MlpKind::kSiluGated || mlp == MlpKind::kGeluGated; }
  Rope rope;
  RopeLayout rope_layout = RopeLayout::kHalves;
  int32_t position_offset = 0;  // row of the learned position 0
  float embedding_scale = 1;
  float attention_scale = 0;
  float attention_softcap = 0;  // 0: none
  float logit_softcap = 0;
  // Local layers see the last `window` positions and have a rotary embedding of their own where `local_rope` is given.
  int32_t window = 0;
  std::vector<bool> local;  // per layer; empty: none is
  std::optional<Rope> local_rope;
  bool IsLocal(int32_t layer) const { return !local.empty() && local[static_cast<size_t>(layer)]; }
  // Where in the rotary table, which begins with position 0 of shorter ones, the positions of a sequence of `tokens`
  // tokens begin.
  int32_t FirstPosition(int64_t tokens) const {
    return rope.scaling == RopeScaling::kLongRope && tokens > rope.context ? rope.context : 0;
  }
  bool tied_head = false;  // no output.weight: the head is the embedding
  int64_t parameters = 0;
  int64_t file_bytes = 0;
  int64_t repacked_bytes = 0;  // of a checkpoint's layers, which are held beside the mapped files
  int64_t released_bytes = 0;  // of the files, given back once layers were repacked
  // Of the tensors of each block, of the embeddings, and of the head with its norm; a tied head counts for both.
  std::vector<int64_t> block_bytes;
  int64_t embedding_bytes = 0;
  int64_t head_bytes = 0;
  std::map<std::string, int32_t> tensor_types;  // tensors per storage type
  // The linear layers of the blocks in layer order, within a layer in the order of Part: the partition's order. `group`
  // is the storage type's scale group, or cols for plain floats.
  std::vector<method::TensorShape> trained;
  int32_t trained_per_layer() const { return static_cast<int32_t>(trained.size()) / layers; }
  // What can be trained by deltas: embeddings and head where they are plain floats, norms and biases, in this order:
  // embeddings (unquantized_embeddings of them), those of each block, the output norm, the head unless tied.
  std::vector<method::TensorShape> unquantized;
  int32_t unquantized_embeddings = 0;
  int32_t unquantized_per_layer = 0;
  // The place of a tensor among those, by its name; −1 where it is none.
  int FindUnquantized(const std::string& tensor) const;
  // Whether first and last layer train the same tensor.
  bool embedding_shared() const { return tied_head && FindUnquantized(embedding.weight) >= 0; }

  // What a method trains, in the order of the partition: `trained` or, where deltas are, the embeddings, the layers
  // with `trained` before `unquantized` of each, output norm and head. And of it what layers [begin, end) hold.
  std::vector<method::TensorShape> TrainedBy(const method::MethodSpec& method) const;
  method::Partition PartitionFor(const method::MethodSpec& method) const {
    return method::Partition(method.granularity, TrainedBy(method));
  }
  method::Partition PartitionFor(const method::MethodSpec& method, int32_t begin, int32_t end) const;

  TensorNames embedding, positions, output_norm, head;  // positions: "" with rotary embedding
  std::vector<std::map<Part, TensorNames>> blocks;

  // Fills in block_bytes, embedding_bytes and head_bytes; `bytes_of` is asked for each tensor by its name.
  void CountBytes(const std::function<int64_t(const std::string& tensor)>& bytes_of);
  // Fills in what is unquantized; `plain` says of an embedding or head whether it is stored as plain floats.
  void ListUnquantized(const std::function<bool(const std::string& tensor)>& plain);

  // Bytes of the activations of a forward pass over `rows` token rows (model/graph's arena), for planning memory.
  int64_t ActivationBytes(int64_t rows) const;
};

// Possible errors: INVALID_ARGUMENT naming the key or tensor (missing, wrong shape, storage type, setting or
// architecture that is not supported, with what is).
absl::StatusOr<ModelInfo> ReadModelInfo(const GgufFile& file);

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_MODEL_INFO_H_
