#include "model/tokenizer/unigram.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "model/tokenizer/utf8.h"

namespace qzo::model {
namespace {

// SentencePiece's own: a character that is no piece costs this much more than the unlikeliest piece.
constexpr double kUnknownPenalty = 10;

}  // namespace

Unigram::Unigram(const Vocabulary& vocabulary, std::vector<double> scores, bool byte_fallback)
    : scores_(std::move(scores)),
      byte_fallback_(byte_fallback),
      unknown_(*vocabulary.unknown),
      byte_tokens_(vocabulary.ByteTokens()) {
  double lowest = std::numeric_limits<double>::infinity();
  for (const auto& [spelling, id] : vocabulary.text_ids) {
    if (spelling.empty()) continue;
    pieces_.Add(spelling, id);
    lowest = std::min(lowest, scores_[static_cast<size_t>(id)]);
  }
  unknown_score_ = (pieces_.empty() ? 0 : lowest) - kUnknownPenalty;
}

absl::StatusOr<std::unique_ptr<Unigram>> Unigram::Make(const Vocabulary& vocabulary, std::vector<double> scores,
                                                       bool byte_fallback) {
  if (!vocabulary.unknown.has_value()) return absl::InvalidArgumentError("a unigram model needs an unknown token");
  return std::unique_ptr<Unigram>(new Unigram(vocabulary, std::move(scores), byte_fallback));
}

void Unigram::AppendUnknown(std::string_view text, std::vector<int32_t>* ids) const {
  const auto token = [this](char byte) { return byte_tokens_[static_cast<unsigned char>(byte)]; };
  if (byte_fallback_ && std::all_of(text.begin(), text.end(), [&token](char byte) { return token(byte) >= 0; })) {
    for (const char byte : text) ids->push_back(token(byte));
  } else {
    ids->push_back(unknown_);
  }
}

void Unigram::Encode(const std::vector<std::string_view>& words, std::vector<int32_t>* ids) const {
  struct Best {
    double score;   // of the best way to cut what comes before
    int32_t id;     // its last piece; -1 for an unknown character
    uint32_t size;  // in bytes; 0 where nothing ends
  };
  std::vector<Best> best;
  std::vector<Best> path;
  for (const std::string_view word : words) {
    best.assign(word.size() + 1, {0, -1, 0});
    const auto consider = [&best](size_t at, size_t size, int32_t id, double score) {
      Best& end = best[at + size];
      if (end.size > 0 && !(best[at].score + score > end.score)) return;
      end = {best[at].score + score, id, static_cast<uint32_t>(size)};
    };
    for (size_t at = 0; at < word.size(); at += CharacterSize(word.substr(at))) {
      const std::string_view rest = word.substr(at);
      const size_t character = CharacterSize(rest);
      bool is_piece = false;
      pieces_.ForEachPrefix(rest, [&](Trie::Match match) {
        is_piece |= match.size == character;
        consider(at, match.size, match.id, scores_[static_cast<size_t>(match.id)]);
      });
      if (!is_piece) consider(at, character, -1, unknown_score_);
    }
    path.clear();
    for (size_t at = word.size(); at > 0; at -= path.back().size) path.push_back(best[at]);
    size_t at = 0;
    for (size_t i = path.size(); i-- > 0;) {
      const size_t begin = at;
      at += path[i].size;
      if (path[i].id >= 0) {
        ids->push_back(path[i].id);
        continue;
      }
      for (; i > 0 && path[i - 1].id < 0; --i) at += path[i - 1].size;
      AppendUnknown(word.substr(begin, at - begin), ids);
    }
  }
}

}  // namespace qzo::model
