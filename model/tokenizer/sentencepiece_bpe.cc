#include "model/tokenizer/sentencepiece_bpe.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tokenizer/symbol_merger.h"
#include "model/tokenizer/utf8.h"

namespace qzo::model {
namespace {

constexpr std::string_view kBlank = "\xE2\x96\x81";  // U+2581

std::string ByteTokenSpelling(size_t byte) { return absl::StrFormat("<0x%02X>", byte); }

}  // namespace

absl::StatusOr<std::unique_ptr<SentencePieceBpe>> SentencePieceBpe::Make(const GgufFile& file,
                                                                         const Vocabulary& vocabulary) {
  std::unique_ptr<SentencePieceBpe> bpe(new SentencePieceBpe(vocabulary));
  QZO_ASSIGN_OR_RETURN(bpe->scores_, file.GetFloats("tokenizer.ggml.scores"));
  if (bpe->scores_.size() != vocabulary.spellings.size()) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": tokenizer.ggml.scores has ", bpe->scores_.size(),
                                                   " entries, but there are ", vocabulary.spellings.size(), " tokens"));
  }
  const auto bad =
      std::find_if(bpe->scores_.begin(), bpe->scores_.end(), [](float score) { return !std::isfinite(score); });
  if (bad != bpe->scores_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": tokenizer.ggml.scores[", bad - bpe->scores_.begin(), "] is not finite"));
  }
  QZO_RETURN_IF_ERROR(bpe->LoadByteTokens(file));
  for (const auto& [spelling, id] : vocabulary.text_ids)
    bpe->longest_piece_ = std::max(bpe->longest_piece_, spelling.size());
  constexpr std::string_view kPrefixKey = "tokenizer.ggml.add_space_prefix";
  if (file.HasKey(kPrefixKey)) {
    QZO_ASSIGN_OR_RETURN(bpe->add_space_prefix_, file.GetBool(kPrefixKey));
  }
  return bpe;
}

absl::Status SentencePieceBpe::LoadByteTokens(const GgufFile& file) {
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    std::optional<int32_t> id = FindId(vocabulary_.ids, ByteTokenSpelling(byte));
    if (id.has_value() && vocabulary_.kinds[static_cast<size_t>(*id)] != TokenKind::kByte) id.reset();
    if (!id.has_value()) id = vocabulary_.unknown;
    if (!id.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat(file.path(), ": neither a byte token ", ByteTokenSpelling(byte),
                                                     " nor tokenizer.ggml.unknown_token_id is there"));
    }
    byte_ids_[byte] = *id;
  }
  return absl::OkStatus();
}

absl::Status SentencePieceBpe::Encode(std::string_view text, std::vector<int32_t>* ids) const {
  const std::string escaped = absl::StrCat(add_space_prefix_ ? base::ToAbsl(kBlank) : "",
                                           absl::StrReplaceAll(base::ToAbsl(text), {{" ", base::ToAbsl(kBlank)}}));
  const auto piece = [&escaped](const SymbolMerger::Symbol& first, uint32_t size) {
    return std::string_view(escaped).substr(first.begin, size);
  };
  SymbolMerger merger;
  for (size_t at = 0; at < escaped.size();) {
    const std::string_view character =
        std::string_view(escaped).substr(at, CharacterSize(std::string_view(escaped).substr(at)));
    merger.Add(FindId(vocabulary_.text_ids, character).value_or(-1), static_cast<uint32_t>(at),
               static_cast<uint32_t>(character.size()));
    at += character.size();
  }
  merger.Run(
      [&](const SymbolMerger::Symbol& left, const SymbolMerger::Symbol& right) -> std::optional<SymbolMerger::Join> {
        const uint32_t size = left.size + right.size;
        if (size > longest_piece_) return std::nullopt;
        const std::optional<int32_t> id = FindId(vocabulary_.text_ids, piece(left, size));
        if (!id.has_value()) return std::nullopt;
        return SymbolMerger::Join{-static_cast<double>(scores_[static_cast<size_t>(*id)]), *id};
      });
  for (const SymbolMerger::Symbol& symbol : merger.symbols()) {
    if (symbol.size == 0) continue;
    if (symbol.id >= 0) {
      ids->push_back(symbol.id);
      continue;
    }
    for (const char byte : piece(symbol, symbol.size)) ids->push_back(byte_ids_[static_cast<unsigned char>(byte)]);
  }
  return absl::OkStatus();
}

std::string SentencePieceBpe::Bytes(int32_t id) const {
  const auto index = static_cast<size_t>(id);
  const std::string& spelling = vocabulary_.spellings[index];
  if (vocabulary_.kinds[index] == TokenKind::kUserDefined) return spelling;
  if (vocabulary_.kinds[index] == TokenKind::kByte) {
    const auto byte = std::find(byte_ids_.begin(), byte_ids_.end(), id);
    if (byte != byte_ids_.end()) return std::string(1, static_cast<char>(byte - byte_ids_.begin()));
  }
  return absl::StrReplaceAll(spelling, {{base::ToAbsl(kBlank), " "}});
}

}  // namespace qzo::model
