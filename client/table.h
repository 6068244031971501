// Text tables in kubectl's manner, and the small formats that fill their cells. Pure.
#ifndef QZO_CLIENT_TABLE_H_
#define QZO_CLIENT_TABLE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "base/figures.h"
#include "google/protobuf/timestamp.pb.h"
#include "qzo/v1/job.pb.h"

namespace qzo::client {

// Columns are as wide as their widest cell, three blanks apart; no line ends with blanks.
class Table {
 public:
  explicit Table(std::vector<std::string> headers) : rows_{std::move(headers)} {}
  // As many cells as there are headers; an empty one shows as "-".
  void Add(std::vector<std::string> cells);
  std::string Render(bool with_headers = true) const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// Characters that `text` takes up, were every code point one wide.
size_t DisplayWidth(std::string_view text);

// Time since `then`; "" when it was never.
std::string Age(const google::protobuf::Timestamp& then, absl::Time now);
absl::Time ToTime(const google::protobuf::Timestamp& timestamp);

// The last segment of a resource name.
std::string ShortName(std::string_view resource);
// "RUNNING".
std::string StateName(v1::FineTuningJob::State state);

using base::Figure;
using base::ShortDuration;

}  // namespace qzo::client

#endif  // QZO_CLIENT_TABLE_H_
