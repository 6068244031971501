#include "base/figures.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace qzo::base {

std::string ShortDuration(absl::Duration duration) {
  const int64_t seconds = std::max<int64_t>(absl::ToInt64Seconds(duration), 0);
  const auto two = [](int64_t value, int64_t unit, const char* large, const char* small) {
    return value % unit == 0 ? absl::StrCat(value / unit, large)
                             : absl::StrCat(value / unit, large, value % unit, small);
  };
  if (seconds < 60) return absl::StrCat(seconds, "s");
  if (seconds < 3600) return two(seconds, 60, "m", "s");
  if (seconds < 86400) return two(seconds / 60, 60, "h", "m");
  return two(seconds / 3600, 24, "d", "h");
}

std::string Figure(double value) { return absl::StrFormat("%.4g", value); }

}  // namespace qzo::base
