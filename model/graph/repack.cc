#include "model/graph/repack.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/log.h"
#include "kernels/weights.h"

namespace qzo::model {
namespace {

template <typename T>
T At(const SafetensorsTensor& tensor, int64_t index) {
  T value;
  std::memcpy(&value, tensor.bytes.data() + index * static_cast<int64_t>(sizeof value), sizeof value);
  return value;
}

// Code i of a row of words, `stride` words from one to the next, that is a little-endian stream of b-bit codes; 32
// codes fill b words, whatever b is.
int StreamCode(const SafetensorsTensor& words, int64_t first, int64_t stride, int64_t i, int bits) {
  const int64_t bit = i % 32 * bits, word = i / 32 * bits + bit / 32;
  const int shift = static_cast<int>(bit % 32);
  uint64_t value = At<uint32_t>(words, first + word * stride);
  if (shift + bits > 32) value |= uint64_t{At<uint32_t>(words, first + (word + 1) * stride)} << 32;
  return static_cast<int>(value >> shift & ((1u << bits) - 1));
}

// AWQ: row `row` of words of eight 4-bit codes each, in the order of its kernels.
int AwqCode(const SafetensorsTensor& words, int64_t row, int64_t columns, int64_t n) {
  static constexpr int kShifts[8] = {0, 16, 4, 20, 8, 24, 12, 28};
  return static_cast<int>(At<uint32_t>(words, row * (columns / 8) + n / 8) >> kShifts[n % 8] & 15);
}

int Code(const CheckpointLinear& l, int64_t n, int64_t k) {
  return l.storage == LinearStorage::kAwq ? AwqCode(*l.weight, k, l.rows, n)
                                          : StreamCode(*l.weight, n, l.rows, k, l.bits);
}

int Zero(const CheckpointLinear& l, int64_t n, int64_t group) {
  if (l.storage == LinearStorage::kAwq) return AwqCode(*l.zeros, group, l.rows, n);
  const int stored = StreamCode(*l.zeros, group * (l.rows * l.bits / 32), 1, n, l.bits);
  return l.zeros_minus_one ? stored + 1 : stored;
}

float HalfAt(const SafetensorsTensor& tensor, int64_t index) {
  const uint16_t stored = At<uint16_t>(tensor, index);
  return tensor.type == SafetensorsType::kBF16 ? std::bit_cast<float>(uint32_t{stored} << 16)
                                               : kernels::HalfToFloat(stored);
}

float Scale(const CheckpointLinear& l, int64_t n, int64_t group) { return HalfAt(*l.scales, group * l.rows + n); }

// Columns by group, ascending within one; empty when they are so already.
std::vector<int32_t> ColumnsByGroup(const CheckpointLinear& l) {
  if (l.indices == nullptr) return {};
  std::vector<int64_t> next(static_cast<size_t>(l.cols / l.group));
  for (size_t g = 0; g < next.size(); ++g) next[g] = static_cast<int64_t>(g) * l.group;
  std::vector<int32_t> order(static_cast<size_t>(l.cols));
  bool same = true;
  for (int64_t k = 0; k < l.cols; ++k) {
    const int64_t at = next[At<uint32_t>(*l.indices, k)]++;
    order[static_cast<size_t>(at)] = static_cast<int32_t>(k);
    same &= at == k;
  }
  if (same) order.clear();
  return order;
}

kernels::WeightType PlainType(const SafetensorsTensor& tensor) {
  const auto type = kernels::FindWeightType(SafetensorsTypeName(tensor.type));
  QZO_CHECK(type.has_value() && kernels::BlockValues(*type) == 1);
  return *type;
}

kernels::WeightType TypeOf(const CheckpointLinear& l) {
  switch (l.storage) {
    case LinearStorage::kPlain:
      return PlainType(*l.weight);
    case LinearStorage::kGptq:
    case LinearStorage::kAwq:
      return kernels::PackedType(l.bits, l.group % 128 == 0);
    case LinearStorage::kNf4:
      return kernels::WeightType::kBook4;
    case LinearStorage::kAqlm:
      break;
  }
  if (l.codebooks == 2) return kernels::WeightType::kBook2x8;
  return l.bits == 16 ? kernels::WeightType::kBook1x16 : kernels::WeightType::kBook1x8;
}

const std::byte* BytesOf(const SafetensorsTensor& tensor) {
  return reinterpret_cast<const std::byte*>(tensor.bytes.data());
}

}  // namespace

PackedLinear Repack(const CheckpointLinear& l) {
  QZO_CHECK((l.storage == LinearStorage::kGptq || l.storage == LinearStorage::kAwq) && l.group % 32 == 0);
  PackedLinear packed{.type = TypeOf(l), .bytes = {}, .order = ColumnsByGroup(l), .scales = {}};
  const int64_t row_bytes = l.cols / kernels::BlockValues(packed.type) * kernels::BlockBytes(packed.type);
  packed.bytes.resize(static_cast<size_t>(l.rows * row_bytes));
  // Files have the rows of the matrix side by side: 32 at a time share their cache lines.
  uint8_t codes[32][32];
  for (int64_t n = 0; n < l.rows; n += 32) {
    const int64_t rows = std::min<int64_t>(32, l.rows - n);
    for (int64_t k = 0; k < l.cols; k += 32) {
      for (int64_t i = 0; i < 32; ++i) {
        const int64_t column = packed.order.empty() ? k + i : packed.order[static_cast<size_t>(k + i)];
        for (int64_t j = 0; j < rows; ++j) codes[j][i] = static_cast<uint8_t>(Code(l, n + j, column));
      }
      const int64_t group = k / l.group;
      for (int64_t j = 0; j < rows; ++j) {
        kernels::EncodeCodes(packed.type, Scale(l, n + j, group), Zero(l, n + j, group), codes[j], k,
                             packed.bytes.data() + (n + j) * row_bytes);
      }
    }
  }
  return packed;
}

PackedLinear UnpackScales(const CheckpointLinear& l) {
  PackedLinear packed{.type = TypeOf(l), .bytes = {}, .order = {}, .scales = {}};
  if (HasScalesInPlace(l)) return packed;
  packed.scales.resize(static_cast<size_t>(l.rows * (l.cols / l.group)));
  for (size_t n = 0; n < packed.scales.size(); ++n) {
    const int64_t i = static_cast<int64_t>(n);
    if (l.storage == LinearStorage::kAqlm) {
      packed.scales[n] = HalfAt(*l.scales, i);
    } else if (l.nested.has_value()) {
      const float product =
          At<float>(*l.nested->map, At<uint8_t>(*l.scales, i)) * At<float>(*l.nested->scales, i / l.nested->block);
      packed.scales[n] = product + l.nested->offset;
    } else {
      packed.scales[n] = At<float>(*l.scales, i);
    }
  }
  return packed;
}

PackedLinear Transpose(const CheckpointLinear& l) {
  QZO_CHECK(l.storage == LinearStorage::kPlain && l.transposed);
  PackedLinear packed{.type = TypeOf(l), .bytes = {}, .order = {}, .scales = {}};
  const size_t size = static_cast<size_t>(kernels::BlockBytes(packed.type)), rows = static_cast<size_t>(l.rows);
  const size_t cols = static_cast<size_t>(l.cols);
  packed.bytes.resize(rows * cols * size);
  for (size_t n = 0; n < rows; n += 32) {  // 32 at a time share their cache lines
    for (size_t k = 0; k < cols; ++k) {
      for (size_t j = n; j < std::min(n + 32, rows); ++j) {
        std::memcpy(packed.bytes.data() + (j * cols + k) * size, l.weight->bytes.data() + (k * rows + j) * size, size);
      }
    }
  }
  return packed;
}

PackedLinear PackLinear(const CheckpointLinear& l) {
  if (l.codebook != nullptr) return UnpackScales(l);
  if (l.storage != LinearStorage::kPlain) return Repack(l);
  return l.transposed ? Transpose(l) : PackedLinear{.type = TypeOf(l), .bytes = {}, .order = {}, .scales = {}};
}

PackedView ViewOf(const PackedLinear& packed) {
  return {.bytes = packed.bytes.empty() ? nullptr : packed.bytes.data(),
          .order = packed.order.empty() ? nullptr : packed.order.data(),
          .scales = packed.scales.empty() ? nullptr : packed.scales.data()};
}

kernels::WeightMatrix MatrixOf(const CheckpointLinear& l, const PackedView& packed) {
  kernels::WeightMatrix matrix{.type = TypeOf(l),
                               .data = packed.bytes != nullptr ? packed.bytes : BytesOf(*l.weight),
                               .rows = l.rows,
                               .cols = l.cols,
                               .group = l.storage == LinearStorage::kPlain ? 0 : l.group,
                               .order = packed.order};
  if (l.codebook == nullptr) return matrix;
  matrix.scales = HasScalesInPlace(l) ? reinterpret_cast<const float*>(BytesOf(*l.scales)) : packed.scales;
  matrix.codebook = BytesOf(*l.codebook);
  matrix.codebook_type = PlainType(*l.codebook);
  return matrix;
}

kernels::WeightMatrix MatrixOf(const SafetensorsTensor& plain) {
  return {.type = PlainType(plain),
          .data = BytesOf(plain),
          .rows = plain.dims.size() == 1 ? 1 : plain.dims[0],
          .cols = plain.dims.back()};
}

}  // namespace qzo::model
