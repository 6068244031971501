// Small vocabularies with every feature that the tokenizers know.
#ifndef QZO_TESTS_SUPPORT_TINY_VOCABULARIES_H_
#define QZO_TESTS_SUPPORT_TINY_VOCABULARIES_H_

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/gguf_builder.h"

namespace qzo::testing {

// The kinds of tokenizer.ggml.token_type.
inline constexpr int32_t kNormalToken = 1, kUnknownToken = 2, kControlToken = 3, kUserDefinedToken = 4, kByteToken = 6;

struct TinyVocabulary {
  int32_t Add(std::string_view spelling, int32_t kind, float score = 0) {
    tokens.emplace_back(spelling);
    kinds.push_back(kind);
    scores.push_back(score);
    return static_cast<int32_t>(tokens.size()) - 1;
  }

  std::vector<std::string> tokens;
  std::vector<int32_t> kinds;
  std::vector<float> scores;
  std::vector<std::string> merges;
};

// GPT-2's letter for a byte: itself where visible, else U+0100 and up in order.
inline std::string ByteLetter(int byte) {
  int code = 0x100;
  for (int b = 0; b <= byte; ++b) {
    const bool visible = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
    if (b == byte && visible) code = b;
    if (b < byte && !visible) ++code;
  }
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
}

// Ids: 0 "<|end|>" and 1 "<|user|>" control, 2 two blanks and 3 "[tool]" user-defined, 4 + b for byte b, then merged
// tokens. The merges could spell "<|end|>" from ordinary text.
inline TinyVocabulary TinyByteLevelVocabulary() {
  TinyVocabulary vocabulary;
  vocabulary.Add("<|end|>", kControlToken);
  vocabulary.Add("<|user|>", kControlToken);
  vocabulary.Add("  ", kUserDefinedToken);
  vocabulary.Add("[tool]", kUserDefinedToken);
  for (int byte = 0; byte < 256; ++byte) vocabulary.Add(ByteLetter(byte), kNormalToken);
  const std::vector<std::pair<std::string, std::string>> merges = {
      {"h", "e"}, {"l", "l"}, {"he", "ll"}, {"hell", "o"}, {"e", "l"},    {"Ġ", "hello"},
      {"<", "|"}, {"e", "n"}, {"en", "d"},  {"|", ">"},    {"<|", "end"}, {"<|end", "|>"}};
  for (const auto& [left, right] : merges) {
    vocabulary.merges.push_back(left + " " + right);
    if (left != "<|end") vocabulary.Add(left + right, kNormalToken);
  }
  return vocabulary;
}

// Ids: 0 "<unk>", 1 "<s>" and 2 "</s>" control, 3 + b for byte b, then pieces. "</s" joins to "</s>" by score if text
// may.
inline TinyVocabulary TinySentencePieceVocabulary() {
  TinyVocabulary vocabulary;
  vocabulary.Add("<unk>", kUnknownToken);
  vocabulary.Add("<s>", kControlToken);
  vocabulary.Add("</s>", kControlToken);
  for (int byte = 0; byte < 256; ++byte) {
    char spelling[8];
    std::snprintf(spelling, sizeof spelling, "<0x%02X>", byte);
    vocabulary.Add(spelling, kByteToken);
  }
  float score = 0;
  for (const char* piece : {"▁", "a", "b", "<", "/", "s", ">", "▁▁", "ab", "▁a", "▁ab", "</", "</s", "é"}) {
    vocabulary.Add(piece, kNormalToken, score -= 1);
  }
  vocabulary.Add("[tool]", kUserDefinedToken);
  return vocabulary;
}

inline GgufBuilder TokenizerGguf(const TinyVocabulary& vocabulary, std::string_view model, std::string_view pre) {
  GgufBuilder builder;
  builder.String("tokenizer.ggml.model", model)
      .String("tokenizer.ggml.pre", pre)
      .Strings("tokenizer.ggml.tokens", vocabulary.tokens)
      .Int32s("tokenizer.ggml.token_type", vocabulary.kinds);
  if (model == "llama" || model == "t5") {
    builder.Floats("tokenizer.ggml.scores", vocabulary.scores).Uint32("tokenizer.ggml.unknown_token_id", 0);
  } else {
    builder.Strings("tokenizer.ggml.merges", vocabulary.merges);
  }
  return builder;
}

}  // namespace qzo::testing

#endif  // QZO_TESTS_SUPPORT_TINY_VOCABULARIES_H_
