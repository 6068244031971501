#include "model/tokenizer/byte_level_bpe.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tokenizer/utf8.h"

namespace qzo::model {
namespace {

// GPT-2's table: bytes that are visible in Latin-1 are spelled as themselves, the others, in order, as U+0100 and up.
std::array<std::string, 256> ByteLetters() {
  std::array<std::string, 256> letters;
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool visible = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    const uint32_t code = visible ? byte : next++;
    if (code < 0x80) {
      letters[byte] = std::string(1, static_cast<char>(code));
    } else {
      letters[byte] = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
    }
  }
  return letters;
}

}  // namespace

ByteLevelBpe::ByteLevelBpe(const Vocabulary& vocabulary) : vocabulary_(vocabulary), letters_(ByteLetters()) {
  for (size_t byte = 0; byte < letters_.size(); ++byte) {
    bytes_.emplace(letters_[byte], static_cast<char>(byte));
    byte_ids_[byte] = FindId(vocabulary.text_ids, letters_[byte]).value_or(-1);
  }
}

absl::StatusOr<std::unique_ptr<ByteLevelBpe>> ByteLevelBpe::Make(const GgufFile& file, const Vocabulary& vocabulary,
                                                                 const PretokenizerFamily& family) {
  std::unique_ptr<ByteLevelBpe> bpe(new ByteLevelBpe(vocabulary));
  bpe->whole_words_ = family.whole_words;
  QZO_ASSIGN_OR_RETURN(bpe->pretokenizer_, Pretokenizer::Make(family));
  QZO_RETURN_IF_ERROR(bpe->LoadMerges(file));
  return bpe;
}

absl::Status ByteLevelBpe::LoadMerges(const GgufFile& file) {
  QZO_ASSIGN_OR_RETURN(const std::vector<std::string_view> merges, file.GetStrings("tokenizer.ggml.merges"));
  joins_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string_view merge = merges[rank];
    const auto error = [&](std::string_view problem) {
      return absl::InvalidArgumentError(absl::StrCat(file.path(), ": tokenizer.ggml.merges[", rank, "] '",
                                                     absl::CEscape(base::ToAbsl(merge)), "' ", base::ToAbsl(problem)));
    };
    const size_t blank = merge.find(' ');
    if (blank == std::string_view::npos || blank == 0 || blank + 1 == merge.size() ||
        merge.find(' ', blank + 1) != std::string_view::npos) {
      return error("is not two pieces with a blank between");
    }
    const std::string_view left = merge.substr(0, blank);
    const std::string_view right = merge.substr(blank + 1);
    const std::string joined = absl::StrCat(base::ToAbsl(left), base::ToAbsl(right));
    for (const std::string_view piece : {left, right, std::string_view(joined)}) {
      if (!FindId(vocabulary_.ids, piece).has_value())
        return error("has or makes a piece that is not in tokenizer.ggml.tokens");
    }
    const std::optional<int32_t> left_id = FindId(vocabulary_.text_ids, left);
    const std::optional<int32_t> right_id = FindId(vocabulary_.text_ids, right);
    const std::optional<int32_t> joined_id = FindId(vocabulary_.text_ids, joined);
    if (!left_id || !right_id || !joined_id) continue;  // of a token that text must not become
    joins_.emplace(Pair(*left_id, *right_id), SymbolMerger::Join{static_cast<double>(rank), *joined_id});
  }
  return absl::OkStatus();
}

std::string ByteLevelBpe::Spell(std::string_view bytes) const {
  std::string spelling;
  for (const char byte : bytes) spelling += letters_[static_cast<unsigned char>(byte)];
  return spelling;
}

absl::Status ByteLevelBpe::Encode(std::string_view text, std::vector<int32_t>* ids) const {
  QZO_ASSIGN_OR_RETURN(const std::vector<std::string_view> words, pretokenizer_->Split(text));
  const auto find_join = [this](const SymbolMerger::Symbol& left, const SymbolMerger::Symbol& right) {
    const auto it = joins_.find(Pair(left.id, right.id));
    return it == joins_.end() ? std::nullopt : std::optional(it->second);
  };
  SymbolMerger merger;
  for (const std::string_view word : words) {
    if (whole_words_) {
      if (const std::optional<int32_t> id = FindId(vocabulary_.text_ids, Spell(word)); id.has_value()) {
        ids->push_back(*id);
        continue;
      }
    }
    merger.Clear();
    for (size_t i = 0; i < word.size(); ++i) {
      const int32_t id = byte_ids_[static_cast<unsigned char>(word[i])];
      if (id >= 0) merger.Add(id, static_cast<uint32_t>(i), 1);
    }
    merger.Run(find_join);
    for (const SymbolMerger::Symbol& symbol : merger.symbols()) {
      if (symbol.size > 0) ids->push_back(symbol.id);
    }
  }
  return absl::OkStatus();
}

std::string ByteLevelBpe::Bytes(int32_t id) const {
  const std::string& spelling = vocabulary_.spellings[static_cast<size_t>(id)];
  if (vocabulary_.kinds[static_cast<size_t>(id)] == TokenKind::kUserDefined) return spelling;
  std::string bytes;
  for (std::string_view rest = spelling; !rest.empty();) {
    const std::string_view letter = rest.substr(0, CharacterSize(rest));
    const auto it = bytes_.find(base::ToAbsl(letter));
    bytes += it == bytes_.end() ? letter : std::string_view(&it->second, 1);
    rest.remove_prefix(letter.size());
  }
  return bytes;
}

}  // namespace qzo::model
