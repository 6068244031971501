// Loss curves for terminals and files, and what two jobs differ in. Pure.
#ifndef QZO_CLIENT_PLOT_H_
#define QZO_CLIENT_PLOT_H_

#include <string>
#include <vector>

#include "client/picture.h"
#include "client/table.h"
#include "qzo/v1/job.pb.h"

namespace qzo::client {

struct LossPoint {
  double step = 0;
  double loss = 0;
};

struct LossSeries {
  std::string name;
  char mark = '.';  // on a terminal, where later series cover earlier ones
  std::vector<LossPoint> points = {};
};

// Training and validation losses out of a job's events; what is not finite is left out. `label` goes before the names.
std::vector<LossSeries> LossesOf(const std::vector<v1::JobEvent>& events, const std::string& label);

// `columns` wide with axes, and a line that says which mark is what; "" when there is no point.
std::string TextPlot(const std::vector<LossSeries>& series, int columns, int rows);
// The same for files.
Picture LossPicture(const std::vector<LossSeries>& series, const std::string& title);

// Settings in which two jobs differ, and their results side by side.
Table JobDifferences(const v1::FineTuningJob& a, const v1::FineTuningJob& b);

}  // namespace qzo::client

#endif  // QZO_CLIENT_PLOT_H_
