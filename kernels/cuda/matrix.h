// How a weight matrix lies in device memory: stored codes as they are, in the order in which the tensor cores want
// them, and the scales in a plane of their own, so that both can be copied in aligned pieces of 16 bytes. Made once
// per matrix, on the host, when a model is loaded.
//
// Columns are cut into stretches of 64, the last one filled up with codes of scale 0 (of a codebook,
// with its first entry: activations are 0 there). In a stretch thread t (0 … 3) of
// a tensor-core product owns of both blocks of 32 the values 4t … 4t+3 and 16+4t … 16+4t+3:
//   codes   [rows, stretches, t, block, words]: kNibble one word, byte i = value 4t+i | value 16+4t+i << 4 (as in
//           GGUF's blocks); kByte two words, the first and the second four values as int8; kBf16 four words, the pairs
//           (4t, 4t+2), (4t+1, 4t+3) and the same plus 16; of codebooks whose entries are eight values, 16 bits an
//           entry: kBook8 [block, t / 2, half of the block], a code into each of two books; kBook16 [entry], into one;
//           kBook4 one word, a byte for each of those pairs, its lower half the first value's code
//   records [stretches >> record_shift, rows], the scales of a stretch:
//           kHalf      2 × fp16 scale                                 value = scale · (nibble − 8) or scale · byte
//           kHalfMin   2 × (fp16 scale, fp16 minimum)                 value = scale · nibble + minimum
//           kSuper     2 × (uint8 scale, uint8 minimum), and in `supers` [stretches / 4, rows] (fp16 d, fp16 m):
//                                                                     value = d · scale · nibble − m · minimum
//           kZero      (fp32 scale, int32 zero) of 128 columns        value = scale · (nibble − zero)
//           kZeros     2 × (fp32 scale, int32 zero)
//           kFloat     2 × (fp32 scale, fp32 minimum)                 value = scale · byte + minimum
//           kFloatHalf 4 × (fp32 scale, fp32 minimum), each of 16 columns
//           kNone      nothing: the values are bfloat16, rounded to nearest where the file has more bits
//           kRow       [rows] instead, fp32 scales                    value = scale · entry, or · the sum of two
//           kScale     fp32 scale of 64 columns                       value = scale · entry
//           kScales    2 × fp32 scale
//   books   [2, 256] or [65536] entries of 16 bytes: bfloat16, rounded to nearest where the file has more bits, in the
//           order 0, 2, 1, 3, 4, 6, 5, 7. A book of 8-bit codes that is alone has a second one of zeros beside it.
//           Of kBook4 [256] words instead, the pair of bfloat16 entries that a byte stands for.
#ifndef QZO_KERNELS_CUDA_MATRIX_H_
#define QZO_KERNELS_CUDA_MATRIX_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/philox.h"  // QZO_HOST_DEVICE
#include "kernels/kernels.h"

namespace qzo::kernels::cuda {

enum class Codes : uint8_t { kNibble, kByte, kBf16, kBook8, kBook16, kBook4 };
enum class Scales : uint8_t {
  kHalf,
  kHalfMin,
  kSuper,
  kZero,
  kZeros,
  kFloat,
  kFloatHalf,
  kNone,
  kRow,
  kScale,
  kScales
};

inline constexpr int kStretch = 64;
inline constexpr int kEntryBytes = 16;  // of a codebook
inline constexpr int kBook8Bytes = 2 * 256 * kEntryBytes;
inline constexpr int kBook4Bytes = 256 * 4;
// Of codebooks that a block of threads has in shared memory.
QZO_HOST_DEVICE constexpr int SharedBookBytes(Codes codes) {
  return codes == Codes::kBook8 ? kBook8Bytes : codes == Codes::kBook4 ? kBook4Bytes : 0;
}

QZO_HOST_DEVICE constexpr int CodeBytes(Codes codes) {  // of a row's stretch
  switch (codes) {
    case Codes::kNibble:
    case Codes::kBook4:
      return 32;
    case Codes::kByte:
      return 64;
    case Codes::kBf16:
      return 128;
    default:
      return 16;
  }
}
QZO_HOST_DEVICE constexpr int RecordBytes(Scales scales) {
  switch (scales) {
    case Scales::kHalf:
    case Scales::kSuper:
    case Scales::kScale:
      return 4;
    case Scales::kHalfMin:
    case Scales::kZero:
    case Scales::kScales:
      return 8;
    case Scales::kZeros:
    case Scales::kFloat:
      return 16;
    case Scales::kFloatHalf:
      return 32;
    default:
      return 0;
  }
}
// Stretches that share a record, as a shift.
QZO_HOST_DEVICE constexpr int RecordShift(Scales scales) { return scales == Scales::kZero ? 1 : 0; }
// Whether a row's groups have scales of their own: else what scales a row is multiplied in the end.
QZO_HOST_DEVICE constexpr bool ScalesGroups(Scales scales) { return scales != Scales::kNone && scales != Scales::kRow; }
QZO_HOST_DEVICE constexpr bool HasMinimum(Scales scales) {
  return scales == Scales::kHalfMin || scales == Scales::kSuper || scales == Scales::kFloat ||
         scales == Scales::kFloatHalf;
}

// Where value i of a block of 32 lies in a row of activations: the order of the tensor-core fragments, two products of
// 16 columns. The pairs are those that a word of stored codes splits into by masks and shifts.
QZO_HOST_DEVICE constexpr int FragmentPlace(int i) { return i / 16 * 16 + i % 2 * 8 + i % 16 / 4 * 2 + i / 2 % 2; }

struct MatrixFormat {
  Codes codes = Codes::kBf16;
  Scales scales = Scales::kNone;
};

// A matrix in device memory, or in the host's for the emulator.
struct DeviceMatrix {
  MatrixFormat format;
  const std::byte* codes = nullptr;
  const std::byte* records = nullptr;
  const std::byte* supers = nullptr;
  const std::byte* books = nullptr;
  int rows = 0;
  int cols = 0;
  int stretches = 0;
  int groups = 1;              // that have a multiplier of their own at granularity kGroup, in a row
  uint32_t group_inverse = 0;  // ceil(2^24 / (values of a group / 16))
};

// The group that column k is in, without a division. Exact while (k / 16) · (group / 16) < 2^24.
QZO_HOST_DEVICE constexpr int GroupOf(const DeviceMatrix& w, int k) {
  return static_cast<int>(static_cast<uint64_t>(k / 16) * w.group_inverse >> 24);
}

struct PackedMatrix {
  DeviceMatrix shape;  // pointers into the vectors
  std::vector<std::byte> codes, records, supers, books;
};

MatrixFormat FormatOf(const WeightMatrix& w);
PackedMatrix PackMatrix(const WeightMatrix& w);

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_MATRIX_H_
