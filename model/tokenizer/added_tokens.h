// Finds tokens that are spelled out in a text. Thread-safe once filled.
#ifndef QZO_MODEL_TOKENIZER_ADDED_TOKENS_H_
#define QZO_MODEL_TOKENIZER_ADDED_TOKENS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "model/tokenizer/trie.h"

namespace qzo::model {

struct AddedToken {
  int32_t id;
  std::string spelling;
  bool strips_left = false;  // takes white space before it along
  bool strips_right = false;
  bool single_word = false;  // not within or beside a word
  bool normalized = false;   // found in normalized text, not in the text as it was written
};

class AddedTokens {
 public:
  // `token.spelling` is not empty.
  void Add(AddedToken token);
  bool empty() const { return tokens_.empty(); }

  // Cuts `text` at the tokens, of which the leftmost and then the longest is taken: calls `use_text(part)` for what is
  // not empty between them and `use_token(id)`, in order. `use_text` returns a status; the first error ends it.
  template <typename UseText, typename UseToken>
  absl::Status Split(std::string_view text, const UseText& use_text, const UseToken& use_token) const {
    size_t done = 0;
    for (size_t at = 0; at < text.size() && !empty();) {
      const Found found = FindAt(text, done, at);
      if (found.id >= 0) {
        if (found.begin > done) {
          if (absl::Status status = use_text(text.substr(done, found.begin - done)); !status.ok()) return status;
        }
        use_token(found.id);
        done = found.end;
      }
      at = found.end;
    }
    return done < text.size() ? use_text(text.substr(done)) : absl::OkStatus();
  }

 private:
  struct Found {
    int32_t id;  // -1: none
    size_t begin;
    size_t end;
  };
  // A token at `at`; white space that it takes along does not reach before `done`.
  Found FindAt(std::string_view text, size_t done, size_t at) const;

  std::vector<AddedToken> tokens_;
  Trie spellings_;  // to indices of tokens_
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_ADDED_TOKENS_H_
