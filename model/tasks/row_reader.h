// A dataset file row by row: JSON Lines, or tab-separated values whose first line names the columns (a tab in a first
// line that does not begin with '{' says so). Values that are whole numbers become JSON's; there is no quoting, as in
// GLUE's files. A UTF-8 byte order mark is passed over. Thread-compatible.
#ifndef QZO_MODEL_TASKS_ROW_READER_H_
#define QZO_MODEL_TASKS_ROW_READER_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace qzo::model {

class RowReader {
 public:
  // `bytes` must outlive the reader.
  explicit RowReader(std::string_view bytes);

  // To the next row; false after the last one.
  bool Next();
  int64_t line() const { return line_; }         // of the row in the file, from 1
  std::string_view row() const { return row_; }  // its bytes, without the line feed
  std::string_view heading() const {
    return heading_;
  }  // likewise of the line that names a table's columns; empty: JSON Lines
  // The row as ParseRow gives it, with the same errors; INVALID_ARGUMENT for another number of values than columns, and
  // for names of columns that are empty or stand twice.
  absl::StatusOr<nlohmann::json> Parse(int64_t* column) const;

 private:
  std::string_view TakeLine();
  absl::StatusOr<nlohmann::json> ParseValues(int64_t* column) const;

  std::string_view rest_;
  std::string_view row_;
  std::string_view heading_;
  int64_t line_ = 0;
  int64_t skipped_ = 0;               // bytes of the first line before it begins
  std::vector<std::string> columns_;  // empty: JSON Lines
  std::string bad_columns_;           // why no row can be read
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TASKS_ROW_READER_H_
