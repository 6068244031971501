// A model's weights in the memory of a GPU: the planes of kernels/cuda/matrix.h, norms and rotary tables.
#ifndef QZO_MODEL_GRAPH_GPU_MODEL_H_
#define QZO_MODEL_GRAPH_GPU_MODEL_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/matrix.h"
#include "model/graph/gpu_memory.h"
#include "model/graph/model.h"

namespace qzo::model {

struct GpuLinear {
  kernels::cuda::DeviceMatrix matrix;
  const int32_t* order = nullptr;  // as WeightMatrix::order, in device memory
  const float* bias = nullptr;
  int ordinal = -1;   // in the partition; -1: not trained
  int first_row = 0;  // of that tensor
};

// Norms and biases, one after the other as in ModelInfo::unquantized.
struct GpuVectors {
  const float* values = nullptr;
  int64_t count = 0;  // of the values
  int first = 0;      // the place of the first of them there
  int tensors = 0;
};

struct GpuNorm {
  const float* weight = nullptr;  // nullptr: there is no such norm
  const float* bias = nullptr;    // of a layer norm
};

struct GpuLayer {
  GpuVectors vectors;  // those that the pointers below point into
  GpuNorm attention_norm, feed_forward_norm, post_attention_norm, post_feed_forward_norm, q_norm, k_norm;
  const float *cos = nullptr, *sin = nullptr;           // of its rotary embedding, where there is one
  int window = 0;                                       // 0: all keys
  GpuLinear q, k, v, attention_output, gate, up, down;  // no rows in `gate`: the MLP has none
};

// Immutable once made.
class GpuModel {
 public:
  // `gpu` must outlive it. Possible errors: UNIMPLEMENTED for what GPUs do not have of a model, those of Gpu::Allocate
  // and Gpu::Wait.
  static absl::StatusOr<std::unique_ptr<GpuModel>> Create(const Model& model, kernels::cuda::Gpu* gpu);

  absl::Span<const GpuLayer> layers() const { return layers_; }
  const kernels::cuda::DeviceMatrix& embedding() const { return embedding_; }
  const kernels::cuda::DeviceMatrix& positions() const { return positions_; }  // no rows with rotary embedding
  const GpuLinear& head() const { return head_; }
  const GpuNorm& output_norm() const { return output_norm_; }
  const GpuVectors& output_vectors() const { return output_vectors_; }
  int64_t bytes() const { return bytes_; }

 private:
  explicit GpuModel(kernels::cuda::Gpu* gpu) : gpu_(*gpu) {}
  absl::StatusOr<const std::byte*> Copy(const void* from, size_t bytes);
  absl::StatusOr<const float*> CopyFloats(absl::Span<const float> values);
  absl::StatusOr<GpuLinear> CopyLinear(const kernels::WeightMatrix& w, int ordinal);
  class VectorCollector;
  absl::Status CopyVectors(const VectorCollector& vectors, GpuVectors* copy);
  absl::Status CopyLayer(const ModelInfo& info, const Layer& layer, int first_vector, GpuLayer* copy);

  kernels::cuda::Gpu& gpu_;
  std::vector<GpuMemory> memory_;
  std::vector<GpuLayer> layers_;
  kernels::cuda::DeviceMatrix embedding_, positions_;
  GpuLinear head_;
  GpuNorm output_norm_;
  GpuVectors output_vectors_;
  int64_t bytes_ = 0;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_GPU_MODEL_H_
