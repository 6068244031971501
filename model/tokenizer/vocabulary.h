// The token table of a tokenizer, whatever its algorithm.
#ifndef QZO_MODEL_TOKENIZER_VOCABULARY_H_
#define QZO_MODEL_TOKENIZER_VOCABULARY_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "model/formats/gguf.h"

namespace qzo::model {

// The numbers of `tokenizer.ggml.token_type`.
enum class TokenKind : uint8_t { kUndefined, kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };

struct Vocabulary {
  using Ids = absl::flat_hash_map<std::string, int32_t>;

  std::vector<std::string> spellings;  // as in the file, by id
  std::vector<TokenKind> kinds;        // by id
  Ids ids;                             // of every spelling; the lowest id of one that occurs twice
  // The part of `ids` that ordinary text may become. Control tokens and the like are not in it, so that no sequence of
  // merges can make one from what a user wrote.
  Ids text_ids;
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
  std::optional<int32_t> unknown;

  // The ids of the byte tokens <0x00> … <0xFF>; -1 where there is none.
  std::array<int32_t, 256> ByteTokens() const;
};

// How a token is spelled in the vocabulary.
enum class Spelling : uint8_t {
  kPlain,
  kByteLetters,  // byte_letters.h
  kBlankMarks,   // U+2581 for a blank; byte tokens <0xXX>
};

// The bytes that a token stands for; `id` is in range.
std::string TokenBytes(const Vocabulary& vocabulary, int32_t id, Spelling spelling);

// Possible errors: INVALID_ARGUMENT (missing table, tables of different lengths, an id or a kind out of range).
absl::StatusOr<Vocabulary> LoadVocabulary(const GgufFile& file);

std::optional<int32_t> FindId(const Vocabulary::Ids& ids, std::string_view spelling);

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_VOCABULARY_H_
