#include "kernels/cuda/matrix.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/log.h"
#include "kernels/weight_blocks.h"
#include "kernels/weights.h"

namespace qzo::kernels::cuda {
namespace {

uint32_t RoundedToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return value != value ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

template <typename T>
void Put(T value, std::byte* to) {
  std::memcpy(to, &value, sizeof(value));
}

// Of 32 values of a row; `raw` is the block they are in, `part` their place in it.
struct Source {
  WeightType type;
  const std::byte* raw;
  int part;
  CodeBlock block;
};

// The code of value i as kNibble stores it.
int NibbleOf(const Source& source, int i) {
  const int code = source.block.codes[i];
  switch (source.type) {
    case WeightType::kQ4_0:
      return code + 8;
    case WeightType::kU4x32:
    case WeightType::kU4x128:
      return code + PackedZero(source.raw);
    default:
      return code;
  }
}

// Thread t's words of block `b` of a stretch.
void PutCodes(Codes codes, const Source& source, int b, std::byte* stretch) {
  const auto& block = source.block;
  for (int t = 0; t < 4; ++t) {
    if (codes == Codes::kNibble) {
      uint32_t word = 0;
      for (int i = 0; i < 4; ++i) {
        word |= static_cast<uint32_t>(NibbleOf(source, 4 * t + i) | NibbleOf(source, 16 + 4 * t + i) << 4) << 8 * i;
      }
      Put(word, stretch + 8 * t + 4 * b);
    } else {
      std::byte* words = stretch + 16 * t + 8 * b;
      std::memcpy(words, block.codes + 4 * t, 4);
      std::memcpy(words + 4, block.codes + 16 + 4 * t, 4);
    }
  }
}

void PutRecord(Scales scales, const Source& source, int b, std::byte* record, std::byte* super) {
  const CodeBlock& block = source.block;
  switch (scales) {
    case Scales::kHalf:
      Put(Load16(source.raw), record + 2 * b);
      return;
    case Scales::kHalfMin:
      Put(Load32(source.raw), record + 4 * b);
      return;
    case Scales::kSuper: {
      const SixBits bits = SixBitsOf(source.raw + 4, source.part);
      Put(static_cast<uint8_t>(bits.scale), record + 2 * b);
      Put(static_cast<uint8_t>(bits.minimum), record + 2 * b + 1);
      Put(Load32(source.raw), super);
      return;
    }
    case Scales::kZero:
    case Scales::kZeros:
      record += scales == Scales::kZeros ? 8 * b : 0;
      Put(block.scale[0], record);
      Put(int32_t{PackedZero(source.raw)}, record + 4);
      return;
    case Scales::kFloat:
      Put(block.scale[0], record + 8 * b);
      Put(block.minimum[0], record + 8 * b + 4);
      return;
    default:
      QZO_CHECK(scales == Scales::kFloatHalf);
      for (int half = 0; half < 2; ++half) {
        Put(block.scale[half], record + 16 * b + 8 * half);
        Put(block.minimum[half], record + 16 * b + 8 * half + 4);
      }
  }
}

void PackPlain(const WeightMatrix& w, PackedMatrix* packed) {
  std::vector<float> values(static_cast<size_t>(packed->shape.stretches) * kStretch);
  for (int64_t row = 0; row < w.rows; ++row) {
    DequantizeRow(w, row, values.data());
    std::byte* out = packed->codes.data() + row * packed->shape.stretches * CodeBytes(Codes::kBf16);
    for (size_t k = 0; k < values.size(); ++k) {
      const int i = static_cast<int>(k % 32), place = FragmentPlace(i);
      // Pair p of thread t is the fragment's word 4p + t; here a thread's words are neighbours.
      const int pair = place / 8, t = place % 8 / 2;
      std::byte* words = out + k / kStretch * 128 + static_cast<size_t>(32 * t) + k % kStretch / 32 * 16;
      Put(static_cast<uint16_t>(RoundedToBf16(values[k])), words + 4 * pair + place % 2 * 2);
    }
  }
}

// Entry e of a codebook: the value at place i is value kPlaces[i].
void PutEntry(const WeightMatrix& w, int64_t e, std::byte* entry) {
  constexpr int kPlaces[] = {0, 2, 1, 3, 4, 6, 5, 7};
  for (int i = 0; i < 8; ++i) {
    const uint16_t bits = Load16(w.codebook + (e * 8 + kPlaces[i]) * 2);
    Put(w.codebook_type == WeightType::kBF16 ? bits : static_cast<uint16_t>(RoundedToBf16(HalfToFloat(bits))),
        entry + 2 * i);
  }
}

// Codes of `code_bytes` for eight values, a book or two; one scale a row.
void PackBooks(const WeightMatrix& w, PackedMatrix* packed) {
  QZO_CHECK(w.group == w.cols && w.codebook_type != WeightType::kF32);
  const bool wide = w.type == WeightType::kBook1x16;
  const int64_t code_bytes = BlockBytes(w.type) * 8 / BlockValues(w.type);
  const int64_t entries = wide ? 65536 : w.type == WeightType::kBook2x8 ? 512 : 256;
  packed->books.resize(wide ? size_t{65536} * kEntryBytes : kBook8Bytes);
  for (int64_t e = 0; e < entries; ++e) PutEntry(w, e, packed->books.data() + e * kEntryBytes);
  packed->records.resize(static_cast<size_t>(w.rows) * sizeof(float));
  for (int64_t row = 0; row < w.rows; ++row) {
    Put(w.scales[row], packed->records.data() + row * static_cast<int64_t>(sizeof(float)));
    const std::byte* codes = w.data + row * (w.cols / 8) * code_bytes;
    std::byte* out = packed->codes.data() + row * packed->shape.stretches * 16;
    for (int64_t e = 0; e < w.cols / 8; ++e) {
      const int64_t in_stretch = wide ? e % 8 : e % 8 / 4 * 4 + e % 2 * 2 + e % 4 / 2;
      std::memcpy(out + (e / 8 * 8 + in_stretch) * 2, codes + e * code_bytes, static_cast<size_t>(code_bytes));
    }
  }
}

void PackBlocks(const WeightMatrix& w, PackedMatrix* packed) {
  const MatrixFormat format = packed->shape.format;
  const int64_t stretches = packed->shape.stretches;
  const int64_t code_bytes = CodeBytes(format.codes), record_bytes = RecordBytes(format.scales);
  const int shift = RecordShift(format.scales);
  if (format.scales == Scales::kSuper) packed->supers.resize(static_cast<size_t>((stretches + 3) / 4 * w.rows * 4));
  const int64_t values = BlockValues(w.type), bytes = BlockBytes(w.type), row_bytes = w.cols / values * bytes;
  for (int64_t row = 0; row < w.rows; ++row) {
    for (int64_t k = 0; k < w.cols; k += 32) {
      Source source{.type = w.type,
                    .raw = w.data + row * row_bytes + k / values * bytes,
                    .part = static_cast<int>(k % values / 32),
                    .block = {}};
      DecodeCodes(w.type, w.data + row * row_bytes, k, &source.block);
      const int64_t stretch = k / kStretch;
      const int b = static_cast<int>(k % kStretch / 32);
      PutCodes(format.codes, source, b, packed->codes.data() + (row * stretches + stretch) * code_bytes);
      PutRecord(format.scales, source, b, packed->records.data() + ((stretch >> shift) * w.rows + row) * record_bytes,
                packed->supers.empty() ? nullptr : packed->supers.data() + (stretch / 4 * w.rows + row) * 4);
    }
  }
}

// A book of 16 single values, and a scale a group.
void PackBook4(const WeightMatrix& w, PackedMatrix* packed) {
  QZO_CHECK(w.group % 32 == 0 && w.codebook_type == WeightType::kF32);
  const auto entry = [&](uint32_t code) { return RoundedToBf16(std::bit_cast<float>(Load32(w.codebook + 4 * code))); };
  packed->books.resize(kBook4Bytes);
  for (uint32_t pair = 0; pair < 256; ++pair) {
    Put(entry(pair & 15) | entry(pair >> 4) << 16, packed->books.data() + 4 * pair);
  }
  const DeviceMatrix& shape = packed->shape;
  const int record_bytes = RecordBytes(shape.format.scales);
  for (int64_t row = 0; row < w.rows; ++row) {
    const std::byte* codes = w.data + row * (w.cols / 2);
    const auto code = [&](int64_t k) { return std::to_integer<uint32_t>(codes[k / 2] >> (k % 2 == 0 ? 4 : 0)) & 15; };
    for (int64_t k = 0; k < w.cols; k += 32) {
      const int64_t stretch = k / kStretch, b = k % kStretch / 32;
      std::byte* words = packed->codes.data() + (row * shape.stretches + stretch) * CodeBytes(Codes::kBook4);
      for (int64_t t = 0; t < 4; ++t) {
        for (int64_t i = 0; i < 4; ++i) {
          const int64_t first = k + i / 2 * 16 + 4 * t + i % 2;
          words[8 * t + 4 * b + i] = static_cast<std::byte>(code(first) | code(first + 2) << 4);
        }
      }
      Put(w.scales[row * shape.groups + k / w.group], packed->records.data() + (stretch * w.rows + row) * record_bytes +
                                                          (shape.format.scales == Scales::kScales ? 4 * b : 0));
    }
  }
}

}  // namespace

MatrixFormat FormatOf(const WeightMatrix& w) {
  switch (w.type) {
    case WeightType::kF32:
    case WeightType::kF16:
    case WeightType::kBF16:
      return {Codes::kBf16, Scales::kNone};
    case WeightType::kQ4_0:
      return {Codes::kNibble, Scales::kHalf};
    case WeightType::kQ4_1:
      return {Codes::kNibble, Scales::kHalfMin};
    case WeightType::kQ4_K:
      return {Codes::kNibble, Scales::kSuper};
    case WeightType::kU4x32:
      return {Codes::kNibble, Scales::kZeros};
    case WeightType::kU4x128:
      return {Codes::kNibble, Scales::kZero};
    case WeightType::kQ8_0:
      return {Codes::kByte, Scales::kHalf};
    case WeightType::kBook1x8:
    case WeightType::kBook2x8:
      return {Codes::kBook8, Scales::kRow};
    case WeightType::kBook1x16:
      return {Codes::kBook16, Scales::kRow};
    case WeightType::kBook4:
      return {Codes::kBook4, GroupSize(w) % kStretch == 0 ? Scales::kScale : Scales::kScales};
    default:
      return {Codes::kByte, GroupValues(w.type) == 16 ? Scales::kFloatHalf : Scales::kFloat};
  }
}

PackedMatrix PackMatrix(const WeightMatrix& w) {
  const MatrixFormat format = FormatOf(w);
  PackedMatrix packed;
  DeviceMatrix& shape = packed.shape;
  shape = {.format = format,
           .rows = static_cast<int>(w.rows),
           .cols = static_cast<int>(w.cols),
           .stretches = static_cast<int>((w.cols + kStretch - 1) / kStretch)};
  packed.codes.resize(static_cast<size_t>(w.rows * shape.stretches * CodeBytes(format.codes)));
  if (ScalesGroups(format.scales)) {
    const int64_t units = GroupSize(w) / 16;
    QZO_CHECK(GroupSize(w) % 16 == 0 && w.cols / 16 * units < 1 << 24);
    shape.groups = static_cast<int>(w.cols / GroupSize(w));
    shape.group_inverse = static_cast<uint32_t>(((1 << 24) + units - 1) / units);
    const int64_t records = ((shape.stretches - 1) >> RecordShift(format.scales)) + 1;
    packed.records.resize(static_cast<size_t>(records * w.rows * RecordBytes(format.scales)));
    format.codes == Codes::kBook4 ? PackBook4(w, &packed) : PackBlocks(w, &packed);
  } else if (format.scales == Scales::kRow) {
    PackBooks(w, &packed);
  } else {
    PackPlain(w, &packed);
  }
  shape.codes = packed.codes.data();
  shape.records = packed.records.data();
  shape.supers = packed.supers.data();
  shape.books = packed.books.data();
  return packed;
}

}  // namespace qzo::kernels::cuda
