// One forward pass over token rows of several lanes, from embeddings to final hidden states, and the head. The engine
// and the generator share it; they differ in where the keys of a row live.
#ifndef QZO_MODEL_GRAPH_FORWARD_H_
#define QZO_MODEL_GRAPH_FORWARD_H_

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <new>
#include <vector>

#include "absl/types/span.h"
#include "kernels/activation.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "model/graph/engine.h"
#include "model/graph/model.h"
#include "model/graph/pack.h"

namespace qzo::model {

kernels::Activation ActivationOf(MlpKind kind);

// Keys and values of earlier rows of one sequence, layer by layer.
class KeyValueCache {
 public:
  explicit KeyValueCache(const ModelInfo& info);
  // Makes room for `rows` rows in all; what is there stays.
  void Reserve(int64_t rows);

  int64_t size = 0;                      // rows that are filled
  std::vector<std::vector<float>> keys;  // per layer [rows, kv_heads * head_dim]
  std::vector<std::vector<float>> values;

 private:
  const int64_t row_floats_;
};

// A buffer that grows to exactly what is asked for and never shrinks; growing loses the contents. 64-byte aligned.
class Buffer {
 public:
  float* Get(int64_t floats) {
    if (floats_ < floats) {
      data_.reset();
      data_.reset(static_cast<float*>(::operator new[](static_cast<size_t>(floats) * sizeof(float), kAlignment)));
      floats_ = floats;
    }
    return data_.get();
  }
  int64_t bytes() const { return floats_ * static_cast<int64_t>(sizeof(float)); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(float* p) const { ::operator delete[](p, kAlignment); }
  };
  std::unique_ptr<float, Free> data_;
  int64_t floats_ = 0;
};

// Thread-compatible. The constructor's arguments must outlive it. Of a model that is a range of layers it is that part
// of the pass.
class Forward {
 public:
  Forward(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool,
          kernels::Arithmetic arithmetic);

  // Hidden states after the final norm, [rows.kept.size(), embedding_length], or from a range without the last layer
  // the residual stream, [rows.rows(), embedding_length]; valid until the next Run. A range without the first layer
  // takes the residual stream of the layers before it as `residual`. With `caches`, one for each of rows.lanes, the
  // keys of a lane's rows are appended to its cache, and their spans count the cache's rows; room must have been
  // reserved.
  const float* Run(const PassRows& rows, LaneSource* lanes, absl::Span<KeyValueCache* const> caches,
                   const float* residual = nullptr);

  // Logits [n, vocabulary] of n hidden states, of the lanes that have them as kept rows.
  void Head(const float* hidden, absl::Span<const LaneSlice> slices, LaneSource* lanes, float* logits);

  int64_t bytes() const;

 private:
  // The rows that a layer still works on: all of them, and from the last layer's queries on only those kept.
  struct View {
    int64_t rows = 0;
    bool kept = false;
    absl::Span<const int32_t> positions;
    absl::Span<const kernels::KeySpan> spans;
    absl::Span<const kernels::KeySpan> local_spans;  // of layers with a window
    absl::Span<const LaneSlice> slices;
    const LaneSource* lanes = nullptr;
  };

  // The input of the matrix products at hand: hidden_, rounded_, or both where the matrices differ in what they take.
  struct Input {
    float* plain = nullptr;  // nullptr: not needed
    kernels::RoundedRows rounded;
    bool rounds = false;  // whether `rounded` is needed
    kernels::RoundedRows* rounded_or_null() { return rounds ? &rounded : nullptr; }
  };

  bool Rounds(const kernels::WeightMatrix& w) const;
  // What `matrices`, which have equally many columns, need; `plain` is where it would be, by default hidden_.
  Input InputOf(std::initializer_list<const kernels::WeightMatrix*> matrices, int64_t rows, float* plain = nullptr);
  // An input as the columns of `w`, which has an order of its own, take it.
  Input Reordered(const kernels::WeightMatrix& w, int64_t rows, const float* plain);
  void Embed(const PassRows& rows, const LaneSource& lanes);
  void KeepRows(const PassRows& rows, View* view);
  void RunLayer(int index, const PassRows& rows, LaneSource* lanes, absl::Span<KeyValueCache* const> caches,
                View* view);
  // Attention of the view's rows to the keys of this pass, or each lane's to those in its cache.
  void Attend(int index, const PassRows& rows, const View& view, absl::Span<KeyValueCache* const> caches, float* q,
              const float* k, const float* v, Input* attended);
  void Multiply(const kernels::WeightMatrix& w, kernels::Granularity granularity, const Input& input, float* y,
                bool accumulate);
  // y = input · wᵀ + bias, or y += that. `base` is the ordinal of the block's first trained tensor.
  void Linear(const LinearLayer& w, int base, const PassRows& rows, const View& view, LaneSource* lanes,
              const Input& input, float* y, bool accumulate);
  // residual_ += norm(input · wᵀ + bias), the norm where there is one.
  void AddBranch(const LinearLayer& w, int base, const NormWeights& norm, const PassRows& rows, const View& view,
                 LaneSource* lanes, const Input& input);
  // body(lane, begin, end) of the rows of each lane; of all rows, with the lane kNoLane, where no lane has deltas.
  template <typename Body>
  void ForLanes(const View& view, Body&& body);
  // What a lane sees as `values`, [begin, …) of unquantized tensor `tensor`: themselves, or in `own` with its deltas;
  // nullptr for none.
  const float* OfLane(const View& view, int lane, const std::vector<float>& values, int tensor, int64_t begin,
                      Buffer* own);
  // Of `parts` vectors as wide as the norm's weights in each row.
  void Norm(const NormWeights& norm, const View& view, const float* x, int64_t parts, float* out,
            kernels::RoundedRows* rounded);
  void NormHeads(const NormWeights& norm, const View& view, int heads, float* x);
  void AddBias(const LinearLayer& w, const View& view, float* y);
  void HeadAsStored(const float* hidden, int64_t n, float* logits);
  void HeadWithDeltas(const float* hidden, int64_t n, const LaneSource& lanes, int lane, float* logits);
  void Rotate(const kernels::RopeTable& table, const View& view, int heads, float* x);

  const Model& model_;
  const ModelInfo& info_;
  const kernels::Kernels& kernels_;
  kernels::ThreadPool& pool_;
  const kernels::Arithmetic arithmetic_;
  const int64_t dim_, q_dim_, kv_dim_;
  const int embedding_deltas_, position_deltas_, head_deltas_;  // places among ModelInfo::unquantized
  Buffer residual_;                                             // [rows, embedding_length]; in the end normed
  Buffer hidden_;                 // [rows, embedding_length or q_dim], where a matrix takes floats
  Buffer rounded_;                // an input as integers
  Buffer gathered_;               // an input with its columns in a matrix's own order, as floats and as integers
  Buffer wide_;                   // queries, keys, values; then gate, up
  Buffer branch_;                 // [rows, embedding_length], where norms follow the branches of a block
  Buffer own_weight_, own_bias_;  // a vector as a lane with deltas sees it
  Buffer head_panel_;             // [kHeadPanelRows, embedding_length], rows of the head likewise
  std::vector<kernels::KeySpan> local_spans_, kept_local_spans_;
  std::vector<int32_t> kept_positions_;
  std::vector<kernels::KeySpan> kept_spans_;
  std::vector<kernels::LaneRows> lane_rows_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_FORWARD_H_
