#include "model/tokenizer/added_tokens.h"

#include <utf8proc.h>

#include <optional>
#include <utility>

#include "model/tokenizer/utf8.h"

namespace qzo::model {
namespace {

// Letters, marks, digits, connecting punctuation and the two joiners: \w of Unicode's technical standard 18.
bool IsWordCharacter(std::string_view character) {
  if (IsInvalidByte(character)) return false;
  if (character == "\u200c" || character == "\u200d") return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(CodePoint(character)))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

bool EndsWithWordCharacter(std::string_view text) {
  size_t at = text.size();
  while (at > 0 && text.size() - at < 4) {
    --at;
    if ((text[at] & 0xC0) != 0x80) break;
  }
  const std::string_view last = text.substr(at);
  return !last.empty() && CharacterSize(last) == last.size() && IsWordCharacter(last);
}

bool BeginsWithWordCharacter(std::string_view text) {
  return !text.empty() && IsWordCharacter(text.substr(0, CharacterSize(text)));
}

}  // namespace

void AddedTokens::Add(AddedToken token) {
  spellings_.Add(token.spelling, static_cast<int32_t>(tokens_.size()));
  tokens_.push_back(std::move(token));
}

AddedTokens::Found AddedTokens::FindAt(std::string_view text, size_t done, size_t at) const {
  const std::optional<Trie::Match> match = spellings_.LongestPrefix(text.substr(at));
  if (!match.has_value()) return {-1, at, at + 1};
  const AddedToken& token = tokens_[static_cast<size_t>(match->id)];
  size_t begin = at;
  size_t end = at + match->size;
  if (token.single_word &&
      (EndsWithWordCharacter(text.substr(0, begin)) || BeginsWithWordCharacter(text.substr(end)))) {
    return {-1, begin, end};
  }
  if (token.strips_left) begin -= TrailingWhiteSpace(text.substr(done, begin - done));
  if (token.strips_right) end += LeadingWhiteSpace(text.substr(end));
  return {token.id, begin, end};
}

}  // namespace qzo::model
