// HTML that is put together safely: string literals are markup, everything else is text and is escaped. Pure.
#ifndef QZO_SERVER_PAGE_HTML_H_
#define QZO_SERVER_PAGE_HTML_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/strings/str_cat.h"

namespace qzo::server {

// "&<>\"'" as entities; control characters, which HTML cannot hold, as U+FFFD.
std::string EscapeHtml(std::string_view text);

// Values may stand between tags and in double-quoted attributes; never in tag names, scripts or styles.
class Html {
 public:
  template <size_t N>
  Html& operator<<(const char (&markup)[N]) {
    text_.append(markup, N - 1);
    return *this;
  }
  Html& operator<<(const std::string& text) {
    text_ += EscapeHtml(text);
    return *this;
  }
  template <typename Number>
  requires std::is_arithmetic_v<Number> Html& operator<<(Number number) {
    absl::StrAppend(&text_, number);
    return *this;
  }
  Html& operator<<(const Html& other) {
    text_ += other.text_;
    return *this;
  }

  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_PAGE_HTML_H_
