// Loss curves as inline SVG, coloured by the page's style sheet. Pure.
#ifndef QZO_SERVER_PAGE_CURVE_H_
#define QZO_SERVER_PAGE_CURVE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/page/html.h"

namespace qzo::server {

struct CurvePoint {
  uint32_t step = 0;
  double loss = 0;
};

struct Curves {
  uint32_t total_steps = 0;
  std::vector<CurvePoint> training;    // by step; those that are not finite are left out
  std::vector<CurvePoint> validation;  // likewise
};

// With axes, for a job's own page. At most about 500 points: neighbours are averaged.
Html LossCurve(const Curves& curves);

// A thumbnail of the training loss that says `label` to those who cannot see it.
Html Sparkline(const Curves& curves, const std::string& label);

}  // namespace qzo::server

#endif  // QZO_SERVER_PAGE_CURVE_H_
