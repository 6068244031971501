// A tokenizer whose ids can be read: one per byte, then the special tokens. Immutable; thread-safe.
#ifndef QZO_TESTS_SUPPORT_BYTE_TOKENIZER_H_
#define QZO_TESTS_SUPPORT_BYTE_TOKENIZER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/tokenizer/tokenizer.h"

namespace qzo::testing {

class ByteTokenizer : public model::Tokenizer {
 public:
  static constexpr int32_t kBos = 256;
  static constexpr int32_t kEos = 257;
  static constexpr int32_t kTurnStart = 258;
  static constexpr int32_t kTurnEnd = 259;

  struct Options {
    bool add_bos = false;
    bool has_eos = true;
    bool has_turns = true;  // <|im_start|> and <|im_end|>
    std::vector<std::string> more_tokens = {};
    std::optional<std::string> chat_template = std::nullopt;
  };

  ByteTokenizer() : ByteTokenizer(Options()) {}
  explicit ByteTokenizer(const Options& options) : options_(options) {
    spellings_.insert(spellings_.end(), options.more_tokens.begin(), options.more_tokens.end());
  }

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool parse_special) const override {
    std::vector<int32_t> ids;
    while (!text.empty()) {
      size_t used = 1;
      int32_t id = static_cast<unsigned char>(text[0]);
      for (size_t i = 0; parse_special && i < spellings_.size(); ++i) {
        if (!Has(i) || !text.starts_with(spellings_[i])) continue;
        used = spellings_[i].size();
        id = kBos + static_cast<int32_t>(i);
      }
      ids.push_back(id);
      text.remove_prefix(used);
    }
    return ids;
  }

  absl::StatusOr<std::string> Decode(const std::vector<int32_t>& ids, bool show_special) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id < 0 || id >= vocab_size()) return absl::InvalidArgumentError("id out of range");
      if (id < kBos) {
        text += static_cast<char>(id);
      } else if (show_special) {
        text += spellings_[static_cast<size_t>(id - kBos)];
      }
    }
    return text;
  }

  int32_t vocab_size() const override { return kBos + static_cast<int32_t>(spellings_.size()); }
  std::optional<int32_t> bos() const override { return kBos; }
  std::optional<int32_t> eos() const override { return options_.has_eos ? std::optional(kEos) : std::nullopt; }
  bool add_bos() const override { return options_.add_bos; }
  std::optional<int32_t> FindToken(std::string_view spelling) const override {
    for (size_t i = 0; i < spellings_.size(); ++i) {
      if (Has(i) && spelling == spellings_[i]) return kBos + static_cast<int32_t>(i);
    }
    if (spelling.size() == 1) return static_cast<unsigned char>(spelling[0]);
    return std::nullopt;
  }
  std::optional<std::string> chat_template() const override { return options_.chat_template; }

 private:
  bool Has(size_t i) const { return i == 0 || i > 3 || (i == 1 ? options_.has_eos : options_.has_turns); }

  const Options options_;
  std::vector<std::string> spellings_ = {"<s>", "</s>", "<|im_start|>", "<|im_end|>"};
};

}  // namespace qzo::testing

#endif  // QZO_TESTS_SUPPORT_BYTE_TOKENIZER_H_
