// Products of quantized weights on a GPU beside two baselines in the same run: cuBLAS on dense bfloat16 weights, which
// take no perturbation, and what the published code does, a dequantized copy for each lane and cuBLAS on that. Prints
// one line of JSON. Every product's result is held to the baseline's before it is timed. Without a GPU it says why and
// exits with 77.
//
//   qzo_gpu_bench [--quick]
#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "bench/dequantize.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/ops.h"

namespace qzo::bench {
namespace {

using namespace kernels;
using namespace kernels::cuda;

constexpr int kNoGpu = 77;
constexpr int kRounds = 5;
constexpr double kRoundSeconds = 0.02;  // of one product, at least
// Weights come from memory, as in a model: the copies that a round goes through are together larger than any cache.
constexpr size_t kCopiesBytes = size_t{256} << 20;
// Results may differ by the rounding of the baseline's weights to bfloat16, a part of 2^-9 each of independent signs:
// together 2^-9 of a result's usual size, and five times that at the farthest of millions.
constexpr double kMostError = 8 * 0x1p-9;

struct Shape {
  const char* name;
  int64_t n, k;
};
constexpr Shape kShapes[] = {{"llama1b_q", 2048, 2048},    {"llama1b_gate", 8192, 2048}, {"llama1b_down", 2048, 8192},
                             {"llama8b_q", 4096, 4096},    {"llama8b_k", 1024, 4096},    {"llama8b_gate", 14336, 4096},
                             {"llama8b_down", 4096, 14336}};
constexpr int kRows[] = {16, 64, 256, 1024, 4096};

struct Format {
  const char* name;
  WeightType type;
  Granularity granularity;
};
constexpr Format kFormats[] = {{"q4_0", WeightType::kQ4_0, Granularity::kChannel},
                               {"gptq", WeightType::kU4x128, Granularity::kGroup}};

absl::Status Checked(cudaError_t error) {
  return error == cudaSuccess ? absl::OkStatus() : absl::InternalError(cudaGetErrorString(error));
}
absl::Status Checked(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? absl::OkStatus() : absl::InternalError(cublasGetStatusString(status));
}

// Device memory that is freed with it.
class Memory {
 public:
  static absl::StatusOr<Memory> Allocate(Gpu* gpu, size_t bytes) {
    QZO_ASSIGN_OR_RETURN(std::byte * data, gpu->Allocate(bytes));
    return Memory({data, [gpu](std::byte* memory) { gpu->Free(memory); }});
  }
  static absl::StatusOr<Memory> Copy(Gpu* gpu, const void* from, size_t bytes) {
    QZO_ASSIGN_OR_RETURN(Memory memory, Allocate(gpu, bytes));
    gpu->Upload(memory.data_.get(), static_cast<const std::byte*>(from), bytes);
    QZO_RETURN_IF_ERROR(gpu->Wait());
    return memory;
  }
  template <typename T>
  static absl::StatusOr<Memory> Copy(Gpu* gpu, const std::vector<T>& values) {
    return Copy(gpu, values.data(), values.size() * sizeof(T));
  }
  template <typename T>
  T* at() const {
    return reinterpret_cast<T*>(data_.get());
  }

 private:
  using Pointer = std::unique_ptr<std::byte, std::function<void(std::byte*)>>;
  explicit Memory(Pointer data) : data_(std::move(data)) {}
  Pointer data_;
};

// Random codes under one scale.
std::vector<std::byte> RandomBlocks(std::mt19937* random, const Format& format, const Shape& shape) {
  const size_t block = static_cast<size_t>(BlockBytes(format.type));
  std::vector<std::byte> bytes(static_cast<size_t>(shape.n * shape.k / BlockValues(format.type)) * block);
  for (size_t at = 0; at + 4 <= bytes.size(); at += 4) {
    const uint32_t word = static_cast<uint32_t>((*random)());
    std::memcpy(&bytes[at], &word, sizeof(word));
  }
  const uint16_t half = 0x2400;  // 2^-6
  const float scale = 0x1p-6f;
  const int16_t zero = 8;
  for (size_t at = 0; at < bytes.size(); at += block) {
    if (format.type == WeightType::kQ4_0) {
      std::memcpy(&bytes[at], &half, sizeof(half));
    } else {
      std::memcpy(&bytes[at], &scale, sizeof(scale));
      std::memcpy(&bytes[at + 4], &zero, sizeof(zero));
    }
  }
  return bytes;
}

// One matrix in every form, on the device.
class Product {
 public:
  Product(Gpu* gpu, cublasHandle_t cublas, const Format& format, const Shape& shape)
      : gpu_(*gpu), cublas_(cublas), format_(format), shape_(shape) {}

  absl::Status Prepare() {
    std::mt19937 random(1);
    const std::vector<std::byte> bytes = RandomBlocks(&random, format_, shape_);
    const WeightMatrix w{.type = format_.type, .data = bytes.data(), .rows = shape_.n, .cols = shape_.k};
    const PackedMatrix packed = PackMatrix(w);
    stored_bytes_ = packed.codes.size() + packed.records.size();
    for (size_t copies = kCopiesBytes / stored_bytes_ + 1; copies > 0; --copies) {
      DeviceMatrix copy = packed.shape;
      for (const auto& [from, to] : {std::pair{&packed.codes, &copy.codes}, {&packed.records, &copy.records}}) {
        QZO_ASSIGN_OR_RETURN(Memory memory, Memory::Copy(&gpu_, *from));
        *to = memory.at<std::byte>();
        memory_.push_back(std::move(memory));
      }
      stored_.push_back(copy);
    }
    const int64_t multipliers = grouped() ? shape_.n * packed.shape.groups : shape_.n;
    QZO_ASSIGN_OR_RETURN(ones_, Allocated(std::vector<float>(static_cast<size_t>(multipliers), 1.0f)));
    for (int lane = 0; lane < 2; ++lane) {
      lanes_.push_back({.seed = 1, .signed_epsilon = lane == 0 ? 0x1p-7f : -0x1p-7f});
      QZO_ASSIGN_OR_RETURN(perturbed_[lane], Allocated(std::vector<float>(static_cast<size_t>(multipliers))));
      gpu_.ops().perturb(gpu_.stream(), {.multipliers = {.k = ones_},
                                         .lane = lanes_.back(),
                                         .count = static_cast<uint32_t>(multipliers),
                                         .out = perturbed_[lane]});
    }
    QZO_ASSIGN_OR_RETURN(device_lanes_, Allocated(lanes_));
    QZO_ASSIGN_OR_RETURN(dequantized_, Allocated(std::vector<uint16_t>(dense_values())));
    for (size_t copies = kCopiesBytes / (2 * dense_values()) + 1; copies > 0; --copies) {
      QZO_ASSIGN_OR_RETURN(Memory memory, Memory::Allocate(&gpu_, 2 * dense_values()));
      dense_.push_back(memory.at<uint16_t>());
      memory_.push_back(std::move(memory));
      Dequantize(0, 0, dense_.back());
    }
    return gpu_.Wait();
  }

  // Operands of `rows` rows, half of them in each lane.
  absl::Status SetRows(int rows) {
    rows_ = rows;
    std::mt19937 random(2);
    std::uniform_int_distribution<int> sign(0, 1), fraction(0, 127);
    std::vector<uint16_t> values(static_cast<size_t>(rows * shape_.k));  // of magnitudes 1 … 2
    for (uint16_t& value : values) value = static_cast<uint16_t>(0x3f80 | sign(random) << 15 | fraction(random));
    std::vector<Strip> strips;
    for (int lane = 0; lane < 2; ++lane) {
      for (int row = 0; row < rows / 2; row += kStripRows) {
        strips.push_back({lane * rows / 2 + row, std::min(kStripRows, rows / 2 - row), lane});
      }
    }
    row_memory_.clear();
    const auto allocated = [&](const auto& from) { return AllocatedIn(&row_memory_, from); };
    QZO_ASSIGN_OR_RETURN(x_, allocated(values));
    QZO_ASSIGN_OR_RETURN(sums_, allocated(std::vector<float>(values.size() / 16)));  // neither format has a minimum
    QZO_ASSIGN_OR_RETURN(strips_, allocated(strips));
    QZO_ASSIGN_OR_RETURN(strip_count_, allocated(std::vector<int32_t>{static_cast<int32_t>(strips.size())}));
    max_strips_ = static_cast<int>(strips.size() + 1) / 2 * 2;
    const size_t results = static_cast<size_t>(rows * shape_.n);
    QZO_ASSIGN_OR_RETURN(y_, allocated(std::vector<float>(results)));
    QZO_ASSIGN_OR_RETURN(baseline_, allocated(std::vector<float>(results)));
    slices_ = Slices(shape_.n, shape_.k);
    QZO_ASSIGN_OR_RETURN(partials_,
                         allocated(std::vector<float>(slices_ > 1 ? results * static_cast<size_t>(slices_) : 1)));
    return absl::OkStatus();
  }

  void Ours(int i) {
    gpu_.ops().mat_mul(gpu_.stream(), {.x = {x_, sums_},
                                       .w = stored_[static_cast<size_t>(i) % stored_.size()],
                                       .grouped = grouped(),
                                       .multipliers = {.k = ones_},
                                       .lanes = device_lanes_,
                                       .strips = strips_,
                                       .strip_count = strip_count_,
                                       .max_strips = max_strips_,
                                       .y = y_,
                                       .ldy = shape_.n,
                                       .slices = slices_,
                                       .partials = partials_,
                                       .max_rows = rows_});
  }
  void Dense(int i) { Multiply(dense_[static_cast<size_t>(i) % dense_.size()], 0, rows_); }
  void Published(int i) {
    for (int lane = 0; lane < 2; ++lane) {
      Dequantize(i, lane, dequantized_);
      Multiply(dequantized_, lane * rows_ / 2, rows_ / 2);
    }
  }

  absl::Status Check() {
    Ours(0);
    Published(0);
    std::vector<float> found(static_cast<size_t>(rows_ * shape_.n)), expected(found.size());
    for (const auto& [from, to] : {std::pair{y_, &found}, {baseline_, &expected}}) {
      gpu_.Download(reinterpret_cast<std::byte*>(to->data()), reinterpret_cast<const std::byte*>(from),
                    to->size() * sizeof(float));
    }
    QZO_RETURN_IF_ERROR(gpu_.Wait());
    QZO_RETURN_IF_ERROR(status_);
    double squares = 0, worst = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      const double error = std::fabs(double{found[i]} - double{expected[i]});
      if (!(error <= worst)) worst = error;
      squares += double{expected[i]} * double{expected[i]};
    }
    const double relative = worst / std::sqrt(squares / static_cast<double>(found.size()));
    if (relative <= kMostError) return absl::OkStatus();
    return absl::InternalError(absl::StrCat(format_.name, " ", shape_.name, ", ", rows_, " rows: results differ by ",
                                            relative, " of their usual size, expected at most ", kMostError));
  }

  double operations() const { return 2.0 * static_cast<double>(rows_) * static_cast<double>(shape_.n * shape_.k); }
  double bytes_over_dense() const {
    return static_cast<double>(stored_bytes_) / static_cast<double>(2 * shape_.n * shape_.k);
  }
  const absl::Status& status() const { return status_; }  // of the baseline's launches so far

 private:
  bool grouped() const { return format_.granularity == Granularity::kGroup; }
  size_t dense_values() const { return static_cast<size_t>(shape_.n * shape_.k); }  // all K are whole stretches
  template <typename T>
  absl::StatusOr<T*> AllocatedIn(std::vector<Memory>* all, const std::vector<T>& from) {
    QZO_ASSIGN_OR_RETURN(Memory memory, Memory::Copy(&gpu_, from));
    return all->emplace_back(std::move(memory)).template at<T>();
  }
  template <typename T>
  absl::StatusOr<T*> Allocated(const std::vector<T>& from) {
    return AllocatedIn(&memory_, from);
  }

  void Dequantize(int i, int lane, uint16_t* out) {
    LaunchDequantize(gpu_.stream(),
                     {stored_[static_cast<size_t>(i) % stored_.size()], perturbed_[lane], grouped(), out});
  }
  // Rows [first, first + rows) of baseline_ = x · wᵀ. cuBLAS has columns where we have rows.
  void Multiply(const uint16_t* w, int first, int rows) {
    const float one = 1, none = 0;
    const int n = static_cast<int>(shape_.n), k = static_cast<int>(shape_.k);
    status_.Update(Checked(cublasGemmEx(cublas_, CUBLAS_OP_T, CUBLAS_OP_N, n, rows, k, &one, w, CUDA_R_16BF, k,
                                        x_ + int64_t{first} * k, CUDA_R_16BF, k, &none, baseline_ + int64_t{first} * n,
                                        CUDA_R_32F, n, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT)));
  }

  Gpu& gpu_;
  const cublasHandle_t cublas_;
  const Format& format_;
  const Shape& shape_;
  absl::Status status_;
  std::vector<Memory> memory_, row_memory_;
  size_t stored_bytes_ = 0;
  std::vector<DeviceMatrix> stored_;
  std::vector<uint16_t*> dense_;
  uint16_t* dequantized_ = nullptr;
  float *ones_ = nullptr, *perturbed_[2] = {};
  std::vector<LaneNoise> lanes_;
  LaneNoise* device_lanes_ = nullptr;
  int rows_ = 0, max_strips_ = 0, slices_ = 1;
  uint16_t* x_ = nullptr;
  float *sums_ = nullptr, *y_ = nullptr, *baseline_ = nullptr, *partials_ = nullptr;
  Strip* strips_ = nullptr;
  int32_t* strip_count_ = nullptr;
};

class Stopwatch {
 public:
  explicit Stopwatch(Gpu* gpu) : stream_(static_cast<cudaStream_t>(gpu->stream())) {
    for (cudaEvent_t& event : events_) cudaEventCreate(&event);
  }
  ~Stopwatch() {
    for (const cudaEvent_t event : events_) cudaEventDestroy(event);
  }
  // Of one launch, from the first to the last of `count`.
  absl::StatusOr<double> Seconds(const std::function<void(int)>& launch, int count) {
    QZO_RETURN_IF_ERROR(Checked(cudaEventRecord(events_[0], stream_)));
    for (int i = 0; i < count; ++i) launch(i);
    QZO_RETURN_IF_ERROR(Checked(cudaEventRecord(events_[1], stream_)));
    QZO_RETURN_IF_ERROR(Checked(cudaEventSynchronize(events_[1])));
    float milliseconds = 0;
    QZO_RETURN_IF_ERROR(Checked(cudaEventElapsedTime(&milliseconds, events_[0], events_[1])));
    return milliseconds * 1e-3 / count;
  }

 private:
  const cudaStream_t stream_;
  cudaEvent_t events_[2];
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

absl::Status Measure(Stopwatch* watch, Product* product, const std::string& name, nlohmann::json* metrics) {
  QZO_RETURN_IF_ERROR(product->Check());
  const std::function<void(int)> contenders[] = {[&](int i) { product->Ours(i); }, [&](int i) { product->Dense(i); },
                                                 [&](int i) { product->Published(i); }};
  int counts[3] = {};
  for (int c = 0; c < 3; ++c) {
    QZO_ASSIGN_OR_RETURN(double once, watch->Seconds(contenders[c], 3));  // caches and clocks
    QZO_ASSIGN_OR_RETURN(once, watch->Seconds(contenders[c], 3));
    counts[c] = std::max(3, static_cast<int>(kRoundSeconds / once));
  }
  std::vector<double> seconds[3];
  for (int round = 0; round < kRounds; ++round) {  // by turns
    for (int c = 0; c < 3; ++c) {
      QZO_ASSIGN_OR_RETURN(const double taken, watch->Seconds(contenders[c], counts[c]));
      seconds[c].push_back(taken);
    }
  }
  QZO_RETURN_IF_ERROR(product->status());
  const double ours = Median(seconds[0]);
  metrics->push_back({name + "_us", ours * 1e6, "microseconds of a product, two perturbed lanes"});
  metrics->push_back({name + "_tflop_per_s", product->operations() / ours * 1e-12, "TFLOP/s"});
  metrics->push_back({name + "_over_dense", Median(seconds[1]) / ours, "times cuBLAS's speed on bfloat16 weights"});
  metrics->push_back({name + "_over_published", Median(seconds[2]) / ours, "times dequantizing and cuBLAS"});
  return absl::OkStatus();
}

absl::StatusOr<nlohmann::json> Run(Gpu* gpu, bool quick) {
  cublasHandle_t cublas = nullptr;
  QZO_RETURN_IF_ERROR(Checked(cublasCreate(&cublas)));
  const std::unique_ptr<cublasContext, cublasStatus_t (*)(cublasHandle_t)> owner(cublas, cublasDestroy);
  QZO_RETURN_IF_ERROR(Checked(cublasSetStream(cublas, static_cast<cudaStream_t>(gpu->stream()))));
  Stopwatch watch(gpu);
  nlohmann::json metrics = nlohmann::json::array();
  for (const Format& format : kFormats) {
    for (const Shape& shape : kShapes) {
      if (quick && !std::string(shape.name).starts_with("llama8b_gate")) continue;
      Product product(gpu, cublas, format, shape);
      QZO_RETURN_IF_ERROR(product.Prepare());
      const std::string name = absl::StrCat(format.name, "_", shape.name);
      metrics.push_back({name + "_bytes_over_dense", product.bytes_over_dense(), "of bfloat16's memory"});
      for (const int rows : kRows) {
        if (quick && rows != 16 && rows != 256 && rows != 4096) continue;
        QZO_RETURN_IF_ERROR(product.SetRows(rows));
        QZO_RETURN_IF_ERROR(Measure(&watch, &product, absl::StrCat(name, "_", rows), &metrics));
      }
    }
  }
  return nlohmann::json{{"gpu", gpu->name()}, {"architecture", gpu->architecture()}, {"metrics", metrics}};
}

int Main(int argc, char** argv) {
  const bool quick = argc == 2 && std::string(argv[1]) == "--quick";
  if (argc > 1 && !quick) {
    std::fprintf(stderr, "usage: qzo_gpu_bench [--quick]\n");
    return 2;
  }
  const absl::StatusOr<std::unique_ptr<Gpu>> gpu = OpenGpu();
  if (!gpu.ok()) {
    std::printf("skipped: %s\n", std::string(gpu.status().message()).c_str());
    return kNoGpu;
  }
  const absl::StatusOr<nlohmann::json> result = Run(gpu->get(), quick);
  if (!result.ok()) {
    std::fprintf(stderr, "%s\n", std::string(result.status().message()).c_str());
    return 1;
  }
  std::printf("%s\n", result->dump().c_str());
  return 0;
}

}  // namespace
}  // namespace qzo::bench

int main(int argc, char** argv) { return qzo::bench::Main(argc, argv); }
