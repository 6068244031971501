#include "client/table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace qzo::client {

void Table::Add(std::vector<std::string> cells) {
  QZO_CHECK(cells.size() == rows_[0].size());
  for (std::string& cell : cells) {
    if (cell.empty()) cell = "-";
  }
  rows_.push_back(std::move(cells));
}

std::string Table::Render(bool with_headers) const {
  std::vector<size_t> widths(rows_[0].size());
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i]));
  }
  std::string out;
  for (size_t r = with_headers ? 0 : 1; r < rows_.size(); ++r) {
    const auto& row = rows_[r];
    for (size_t i = 0; i < row.size(); ++i) {
      out += row[i];
      if (i + 1 < row.size()) out.append(widths[i] - DisplayWidth(row[i]) + 3, ' ');
    }
    out += '\n';
  }
  return out;
}

size_t DisplayWidth(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

absl::Time ToTime(const google::protobuf::Timestamp& timestamp) {
  return absl::FromUnixSeconds(timestamp.seconds()) + absl::Nanoseconds(timestamp.nanos());
}

std::string Age(const google::protobuf::Timestamp& then, absl::Time now) {
  return then.seconds() == 0 ? "" : ShortDuration(now - ToTime(then));
}

std::string ShortName(std::string_view resource) { return std::string(resource.substr(resource.rfind('/') + 1)); }

std::string StateName(v1::FineTuningJob::State state) { return v1::FineTuningJob::State_Name(state); }

}  // namespace qzo::client
