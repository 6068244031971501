// A matrix product of several lanes with operands of its own, its run on a Gpu and its value in double precision: for
// tests on the emulator and on devices.
#ifndef QZO_KERNELS_CUDA_MATMUL_CASE_H_
#define QZO_KERNELS_CUDA_MATMUL_CASE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/test_gpu.h"
#include "kernels/test_data.h"
#include "kernels/weights.h"

namespace qzo::kernels::cuda {

// A matrix's planes copied to a device.
class MatrixOnDevice {
 public:
  MatrixOnDevice(Gpu& gpu, const WeightMatrix& w) : MatrixOnDevice(gpu, PackMatrix(w)) {}
  const DeviceMatrix& get() const { return shape_; }

 private:
  MatrixOnDevice(Gpu& gpu, const PackedMatrix& packed)
      : codes_(gpu, packed.codes),
        records_(gpu, packed.records),
        supers_(gpu, packed.supers),
        books_(gpu, packed.books),
        shape_(packed.shape) {
    shape_.codes = codes_.get();
    shape_.records = records_.get();
    shape_.supers = supers_.get();
    shape_.books = books_.get();
  }
  OnDevice<std::byte> codes_, records_, supers_, books_;
  DeviceMatrix shape_;
};

inline float ToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u);
}

// A random matrix with what it borrows. Entries of a codebook are fp16 of ordinary size, or 16 fp32.
struct RandomMatrix {
  RandomMatrix(std::mt19937& random, WeightType type, int64_t n, int64_t k, int64_t group)
      : w{.type = type, .rows = n, .cols = k, .group = group} {
    if (type == WeightType::kBook4) {
      bytes.resize(static_cast<size_t>(n * k / 2));
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
      entries = RandomFloats(random, 16);
      w.group = group == 0 ? 32 : group;
      scales = RandomFloats(random, static_cast<size_t>(n * (k / w.group)));
      w.scales = scales.data();
      w.codebook = reinterpret_cast<const std::byte*>(entries.data());
      w.codebook_type = WeightType::kF32;
    } else if (HasCodebook(type)) {
      bytes.resize(static_cast<size_t>(n * (k / BlockValues(type) * BlockBytes(type))));
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
      codebook.resize(type == WeightType::kBook1x16 ? 65536 * 8 : type == WeightType::kBook2x8 ? 512 * 8 : 256 * 8);
      for (uint16_t& half : codebook) half = static_cast<uint16_t>((random() & 0x83ffu) | (8 + random() % 8) << 10);
      scales = RandomFloats(random, static_cast<size_t>(n));
      w.group = k;
      w.scales = scales.data();
      w.codebook = reinterpret_cast<const std::byte*>(codebook.data());
      w.codebook_type = WeightType::kF16;
    } else {
      bytes = RandomWeights(random, type, n, k);
    }
    w.data = bytes.data();
  }
  RandomMatrix(const RandomMatrix&) = delete;
  RandomMatrix& operator=(const RandomMatrix&) = delete;

  std::vector<std::byte> bytes;
  std::vector<float> scales, entries;
  std::vector<uint16_t> codebook;
  WeightMatrix w;
};

struct GpuMatMulCase {
  GpuMatMulCase(std::mt19937& random, WeightType type, int64_t n, int64_t k, Granularity granularity_,
                const std::vector<int>& lane_rows, NoiseKind kind = NoiseKind::kRademacher, bool with_units = false,
                int64_t group = 0)
      : matrix(random, type, n, k, group),
        w(matrix.w),
        granularity(ScalesGroups(FormatOf(w).scales) ? granularity_ : Granularity::kChannel) {
    count = static_cast<size_t>(granularity == Granularity::kGroup ? n * (k / GroupSize(w)) : n);
    multipliers = RandomFloats(random, count);
    if (with_units) units = RandomFloats(random, count);
    for (size_t lane = 0; lane < lane_rows.size(); ++lane) {
      lanes.push_back({.seed = 0x123456789abcdefu,
                       .step = 7,
                       .probe = static_cast<uint32_t>(lane / 2),
                       .signed_epsilon = lane + 1 == lane_rows.size() ? 0
                                         : lane % 2 == 0              ? 0.03125f
                                                                      : -0.03125f,
                       .kind = kind});
      AddStrips(static_cast<int>(lane), lane_rows[lane], &rows, &strips);
    }
    x = RandomFloats(random, static_cast<size_t>(rows * k));
    y = RandomFloats(random, static_cast<size_t>(rows * n));
    bias = RandomFloats(random, lanes.size() * static_cast<size_t>(n));
  }
  GpuMatMulCase(const GpuMatMulCase&) = delete;
  GpuMatMulCase& operator=(const GpuMatMulCase&) = delete;

  std::string Name() const {
    return absl::StrCat(std::string(WeightTypeName(w.type)), granularity == Granularity::kGroup ? " group" : " channel",
                        " N ", w.rows, " K ", w.cols, " rows ", rows, " lanes ", lanes.size());
  }

  // y after the product of the given strips, with rows [first, first + part) of w (as if they were all; 0: with all).
  std::vector<float> Run(Gpu& gpu, const std::vector<Strip>& some, bool accumulate = false, int first = 0,
                         int part = 0) const {
    WeightMatrix wanted = w;
    wanted.data += first * (w.cols / BlockValues(w.type) * BlockBytes(w.type));
    if (part != 0) wanted.rows = part;
    if (HasCodebook(w.type)) wanted.scales += first * (w.cols / w.group);
    MatrixOnDevice device(gpu, wanted);
    OnDevice<float> plain(gpu, x), out(gpu, y), k(gpu, multipliers), unit(gpu, units), added(gpu, bias);
    const size_t stretches = static_cast<size_t>(device.get().stretches);
    OnDevice<uint16_t> values(gpu, static_cast<size_t>(rows) * stretches * kStretch);
    OnDevice<float> sums(gpu, static_cast<size_t>(rows) * stretches * 4);
    OnDevice<LaneNoise> noises(gpu, lanes);
    OnDevice<Strip> strip_table(gpu, some);
    OnDevice<int32_t> counts(gpu, std::vector<int32_t>{static_cast<int32_t>(some.size()), rows});
    gpu.ops().round(gpu.stream(),
                    {.x = plain.get(),
                     .cols = static_cast<int>(w.cols),
                     .rows = counts.get() + 1,
                     .out = {values.get(), sums.get(), static_cast<int>(stretches)}},
                    rows);
    const int slices = Slices(wanted.rows, w.cols);
    OnDevice<float> partials(gpu, slices > 1 ? static_cast<size_t>(slices * rows * wanted.rows) : 1);
    const int64_t groups = granularity == Granularity::kGroup ? w.cols / GroupSize(w) : 1;
    gpu.ops().mat_mul(gpu.stream(), {.x = {values.get(), sums.get()},
                                     .w = device.get(),
                                     .grouped = granularity == Granularity::kGroup,
                                     .multipliers = {k.get(), units.empty() ? nullptr : unit.get(), kTensor,
                                                     static_cast<uint32_t>(first * groups)},
                                     .lanes = noises.get(),
                                     .strips = strip_table.get(),
                                     .strip_count = counts.get(),
                                     // More than there are, as in a graph that was made for larger passes.
                                     .max_strips = static_cast<int>((some.size() + 3) / 2 * 2),
                                     .y = out.get(),
                                     .ldy = wanted.rows,
                                     .accumulate = accumulate,
                                     .bias = added.get() + first,
                                     .bias_stride = w.rows,
                                     .slices = slices,
                                     .partials = partials.get(),
                                     .max_rows = rows});
    return out.Read();
  }

  // The largest error of `found` as a part of what is allowed. Every term of an output element, x · scale · code and
  // x · minimum, passes at most one rounding for each tensor-core product (several inside, on a device, but of parts
  // of the same sum: 16) and each multiply-add after it, the row's scale's, the multiplier's, the bias's and the sum's:
  // (K/16) · (1 + 2) + 20 of them, each of at most 2^-23 of the sum of the terms' magnitudes (truncation included);
  // then the slices'.
  double Error(const std::vector<float>& found, bool accumulate, std::string* where) const {
    std::vector<float> perturbed(count);
    double worst = 0;
    std::vector<std::vector<float>> scaled;
    for (const LaneNoise& lane : lanes) {
      AllKernels().front()->perturb(
          {.kind = lane.kind, .seed = lane.seed, .step = lane.step, .probe = lane.probe, .tensor = kTensor}, 0,
          static_cast<int64_t>(count), multipliers.data(), units.empty() ? nullptr : units.data(), lane.signed_epsilon,
          perturbed.data());
      scaled.push_back(perturbed);
    }
    const int64_t groups = granularity == Granularity::kGroup ? w.cols / GroupSize(w) : 1;
    const double allowed = (static_cast<double>(w.cols) / 16 * 3 + 20) * 0x1p-23;
    for (int64_t n = 0; n < w.rows; ++n) {
      Decode(n);
      for (const Strip& strip : strips) {
        const float* multiplier = scaled[static_cast<size_t>(strip.lane)].data() + n * groups;
        for (int64_t m = strip.begin; m < strip.begin + strip.rows; ++m) {
          double sum = 0, size = 0;
          for (int64_t k = 0; k < w.cols; ++k) {
            double magnitude;
            const double value = ValueAt(static_cast<size_t>(k), &magnitude);
            const double term = double{ToBf16(x[static_cast<size_t>(m * w.cols + k)])} *
                                double{multiplier[groups == 1 ? 0 : k / GroupSize(w)]};
            sum += value * term;
            size += magnitude * std::fabs(term);
          }
          const double before = accumulate ? double{y[static_cast<size_t>(m * w.rows + n)]} : 0;
          const double added = double{bias[static_cast<size_t>(strip.lane * w.rows + n)]};
          const double error = std::fabs(double{found[static_cast<size_t>(m * w.rows + n)]} - (sum + added + before)) /
                               (allowed * (size + std::fabs(added) + std::fabs(before)) + 1e-37);
          if (error <= worst) continue;
          worst = error;
          *where = absl::StrCat(Name(), ": row ", m, " column ", n);
        }
      }
    }
    return worst;
  }

  static constexpr uint32_t kTensor = 5;
  const RandomMatrix matrix;
  const WeightMatrix& w;
  const Granularity granularity;
  size_t count = 0;  // of multipliers
  std::vector<float> multipliers, units, x, y;
  std::vector<float> bias;  // [lanes, N]
  std::vector<LaneNoise> lanes;
  std::vector<Strip> strips;
  int rows = 0;

 private:
  void Decode(int64_t n) const {
    plain_.resize(static_cast<size_t>(w.cols));
    blocks_.resize(static_cast<size_t>(w.cols / 32));
    if (BlockValues(w.type) == 1) return DequantizeRow(w, n, plain_.data());
    if (HasCodebook(w.type)) return DecodeRounded(n);
    const int64_t row_bytes = w.cols / BlockValues(w.type) * BlockBytes(w.type);
    for (size_t b = 0; b < blocks_.size(); ++b) {
      DecodeCodes(w.type, w.data + n * row_bytes, static_cast<int64_t>(b) * 32, &blocks_[b]);
    }
  }
  // Row n with entries of its codebook rounded to bfloat16, and their sum once more.
  void DecodeRounded(int64_t n) const {
    const auto entry = [&](size_t code, size_t i) { return ToBf16(HalfToFloat(matrix.codebook[code * 8 + i])); };
    const auto byte = [&](size_t at) { return std::to_integer<size_t>(w.data[at]); };
    if (w.type == WeightType::kBook4) {
      for (size_t k = 0; k < plain_.size(); ++k) {
        const size_t at = static_cast<size_t>(n) * plain_.size() + k,
                     groups = plain_.size() / static_cast<size_t>(w.group);
        const size_t code = byte(at / 2) >> (k % 2 == 0 ? 4 : 0) & 15;
        plain_[k] =
            w.scales[static_cast<size_t>(n) * groups + k / static_cast<size_t>(w.group)] * ToBf16(matrix.entries[code]);
      }
      return;
    }
    for (size_t k = 0; k < plain_.size(); ++k) {
      const size_t at = static_cast<size_t>(n) * (plain_.size() / 8) + k / 8;
      const float value = w.type == WeightType::kBook1x8 ? entry(byte(at), k % 8)
                          : w.type == WeightType::kBook1x16
                              ? entry(byte(2 * at) + 256 * byte(2 * at + 1), k % 8)
                              : ToBf16(entry(byte(2 * at), k % 8) + entry(256 + byte(2 * at + 1), k % 8));
      plain_[k] = w.scales[n] * value;
    }
  }
  // Value k of the row that was decoded, and |scale · code| + |minimum|.
  double ValueAt(size_t k, double* magnitude) const {
    if (HasCodebook(w.type)) {
      *magnitude = std::fabs(double{plain_[k]});
      return double{plain_[k]};
    }
    if (BlockValues(w.type) == 1) {
      *magnitude = std::fabs(double{ToBf16(plain_[k])});
      return double{ToBf16(plain_[k])};
    }
    const CodeBlock& block = blocks_[k / 32];
    const double product = double{block.scale[k % 32 / 16]} * block.codes[k % 32];
    const double minimum = double{block.minimum[k % 32 / 16]};
    *magnitude = std::fabs(product) + std::fabs(minimum);
    return product + minimum;
  }
  mutable std::vector<float> plain_;
  mutable std::vector<CodeBlock> blocks_;
};

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_MATMUL_CASE_H_
