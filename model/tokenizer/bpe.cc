#include "model/tokenizer/bpe.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tokenizer/utf8.h"

namespace qzo::model {
namespace {

// Code points looked up in a table: all of GPT-2's letters and most alphabets.
constexpr uint32_t kTableCodePoints = 0x800;

}  // namespace

Bpe::Bpe(const Vocabulary& vocabulary, const Options& options)
    : vocabulary_(vocabulary), options_(options), byte_tokens_(vocabulary.ByteTokens()) {
  characters_.assign(kTableCodePoints, -1);
  for (const auto& [spelling, id] : vocabulary.text_ids) {
    if (spelling.empty() || CharacterSize(spelling) != spelling.size() || IsInvalidByte(spelling)) continue;
    if (const uint32_t code = CodePoint(spelling); code < kTableCodePoints) characters_[code] = id;
  }
}

absl::StatusOr<std::unique_ptr<Bpe>> Bpe::Make(const Vocabulary& vocabulary, const std::vector<Merge>& merges,
                                               const Options& options) {
  std::unique_ptr<Bpe> bpe(new Bpe(vocabulary, options));
  QZO_RETURN_IF_ERROR(bpe->AddMerges(merges));
  return bpe;
}

absl::StatusOr<Bpe::Merge> Bpe::ParseMerge(std::string_view merge) {
  const size_t blank = merge.find(' ');
  if (blank == std::string_view::npos || blank == 0 || blank + 1 == merge.size() ||
      merge.find(' ', blank + 1) != std::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", absl::CEscape(base::ToAbsl(merge)), "' is not two pieces with a blank between"));
  }
  return Merge{merge.substr(0, blank), merge.substr(blank + 1)};
}

absl::Status Bpe::AddMerges(const std::vector<Merge>& merges) {
  joins_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const std::string joined = absl::StrCat(base::ToAbsl(left), base::ToAbsl(right));
    for (const std::string_view piece : {left, right, std::string_view(joined)}) {
      if (FindId(vocabulary_.ids, piece).has_value()) continue;
      return absl::InvalidArgumentError(absl::StrCat("merges[", rank, "] '", absl::CEscape(base::ToAbsl(left)), " ",
                                                     absl::CEscape(base::ToAbsl(right)),
                                                     "' has or makes a piece that is no token"));
    }
    const std::optional<int32_t> left_id = FindId(vocabulary_.text_ids, left);
    const std::optional<int32_t> right_id = FindId(vocabulary_.text_ids, right);
    const std::optional<int32_t> joined_id = FindId(vocabulary_.text_ids, joined);
    if (!left_id || !right_id || !joined_id) continue;  // of a token that text must not become
    joins_.emplace(Pair(*left_id, *right_id), SymbolMerger::Join{static_cast<double>(rank), *joined_id});
  }
  return absl::OkStatus();
}

int32_t Bpe::FindCharacter(std::string_view character) const {
  if (IsInvalidByte(character)) return -1;
  const uint32_t code = CodePoint(character);
  if (code < kTableCodePoints) return characters_[code];
  return FindId(vocabulary_.text_ids, character).value_or(-1);
}

void Bpe::AddSymbols(std::string_view word, SymbolMerger* merger) const {
  uint32_t at = 0;
  const auto add = [&](int32_t id, size_t size) {
    if (id >= 0) merger->Add(id, at, static_cast<uint32_t>(size));
    at += static_cast<uint32_t>(size);
  };
  bool after_unknown = false;
  while (at < word.size()) {
    const std::string_view character = word.substr(at, CharacterSize(word.substr(at)));
    int32_t id = FindCharacter(character);
    const bool has_bytes = options_.byte_fallback && std::all_of(character.begin(), character.end(), [this](char byte) {
                             return byte_tokens_[static_cast<unsigned char>(byte)] >= 0;
                           });
    const bool unknown = id < 0 && !has_bytes;
    if (id < 0 && has_bytes) {
      for (const char byte : character) add(byte_tokens_[static_cast<unsigned char>(byte)], 1);
    } else {
      if (unknown && !(after_unknown && options_.fuse_unknown)) id = options_.unknown.value_or(-1);
      add(id, character.size());
    }
    after_unknown = unknown;
  }
}

void Bpe::Encode(const std::vector<std::string_view>& words, std::vector<int32_t>* ids) const {
  const auto find_join = [this](const SymbolMerger::Symbol& left, const SymbolMerger::Symbol& right) {
    const auto it = joins_.find(Pair(left.id, right.id));
    return it == joins_.end() ? std::nullopt : std::optional(it->second);
  };
  SymbolMerger merger;
  for (const std::string_view word : words) {
    if (options_.whole_words) {
      if (const std::optional<int32_t> id = FindId(vocabulary_.text_ids, word); id.has_value()) {
        ids->push_back(*id);
        continue;
      }
    }
    merger.Clear();
    AddSymbols(word, &merger);
    merger.Run(find_join);
    for (const SymbolMerger::Symbol& symbol : merger.symbols()) {
      if (symbol.size > 0) ids->push_back(symbol.id);
    }
  }
}

}  // namespace qzo::model
