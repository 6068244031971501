#include "model/tokenizer/score_bpe.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "model/tokenizer/symbol_merger.h"
#include "model/tokenizer/utf8.h"

namespace qzo::model {

ScoreBpe::ScoreBpe(const Vocabulary& vocabulary, std::vector<float> scores)
    : vocabulary_(vocabulary), scores_(std::move(scores)), byte_ids_(vocabulary.ByteTokens()) {
  for (const auto& [spelling, id] : vocabulary.text_ids) longest_piece_ = std::max(longest_piece_, spelling.size());
}

absl::StatusOr<std::unique_ptr<ScoreBpe>> ScoreBpe::Make(const Vocabulary& vocabulary, std::vector<float> scores) {
  std::unique_ptr<ScoreBpe> bpe(new ScoreBpe(vocabulary, std::move(scores)));
  for (size_t byte = 0; byte < bpe->byte_ids_.size(); ++byte) {
    int32_t& id = bpe->byte_ids_[byte];
    if (id >= 0) continue;
    if (!vocabulary.unknown.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("neither a byte token <0x%02X> nor tokenizer.ggml.unknown_token_id is there", byte));
    }
    id = *vocabulary.unknown;
  }
  return bpe;
}

void ScoreBpe::Encode(const std::vector<std::string_view>& words, std::vector<int32_t>* ids) const {
  SymbolMerger merger;
  for (const std::string_view word : words) {
    const auto piece = [word](const SymbolMerger::Symbol& first, uint32_t size) {
      return word.substr(first.begin, size);
    };
    merger.Clear();
    for (size_t at = 0; at < word.size();) {
      const std::string_view character = word.substr(at, CharacterSize(word.substr(at)));
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
  }
}

}  // namespace qzo::model
