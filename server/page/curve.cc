#include "server/page/curve.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "base/figures.h"

namespace qzo::server {
namespace {

constexpr size_t kMaxPoints = 500;
constexpr int kTicks = 4;

// Where the plot lies within its picture, and what it shows.
struct Frame {
  double left, top, width, height;
  double steps = 1, low = 0, high = 1;

  double X(double step) const { return left + width * step / steps; }
  double Y(double loss) const { return top + height * (high - loss) / (high - low); }
};

std::vector<CurvePoint> Thinned(const std::vector<CurvePoint>& points) {
  std::vector<CurvePoint> finite;
  std::copy_if(points.begin(), points.end(), std::back_inserter(finite),
               [](const CurvePoint& point) { return std::isfinite(point.loss); });
  const size_t bucket = (finite.size() + kMaxPoints - 1) / kMaxPoints;
  if (bucket <= 1) return finite;
  std::vector<CurvePoint> thinned;
  for (size_t at = 0; at < finite.size(); at += bucket) {
    const size_t end = std::min(at + bucket, finite.size());
    double sum = 0;
    for (size_t i = at; i < end; ++i) sum += finite[i].loss;
    thinned.push_back({finite[end - 1].step, sum / static_cast<double>(end - at)});
  }
  return thinned;
}

// Makes `frame` span all of both curves.
void Fit(const Curves& curves, const std::vector<CurvePoint>& training, const std::vector<CurvePoint>& validation,
         Frame* frame) {
  double low = INFINITY, high = -INFINITY, steps = std::max(1U, curves.total_steps);
  for (const auto* points : {&training, &validation}) {
    for (const CurvePoint& point : *points) {
      low = std::min(low, point.loss);
      high = std::max(high, point.loss);
      steps = std::max(steps, static_cast<double>(point.step));
    }
  }
  const double margin = high > low ? 0.05 * (high - low) : 0.05 * std::abs(high) + 0.01;
  const double floor = low >= 0 ? std::max(0.0, low - margin) : low - margin;
  *frame = {frame->left, frame->top, frame->width, frame->height, steps, floor, high + margin};
}

std::string Polyline(const std::vector<CurvePoint>& points, const Frame& frame) {
  std::string path;
  for (const CurvePoint& point : points) {
    absl::StrAppendFormat(&path, "%s%.1f,%.1f", path.empty() ? "" : " ", frame.X(point.step), frame.Y(point.loss));
  }
  return path;
}

std::string Coordinate(double value) { return absl::StrFormat("%.1f", value); }

void DrawAxes(const Frame& frame, Html* svg) {
  const std::string left = Coordinate(frame.left), right = Coordinate(frame.left + frame.width);
  for (int i = 0; i <= kTicks; ++i) {
    const double loss = frame.low + (frame.high - frame.low) * i / kTicks;
    const std::string y = Coordinate(frame.Y(loss)), text_y = Coordinate(frame.Y(loss) + 4);
    *svg << "<line class=\"grid\" x1=\"" << left << "\" x2=\"" << right << "\" y1=\"" << y << "\" y2=\"" << y << "\"/>"
         << "<text text-anchor=\"end\" x=\"" << Coordinate(frame.left - 6) << "\" y=\"" << text_y << "\">"
         << absl::StrFormat("%.3g", loss) << "</text>";
    const double step = std::round(frame.steps * i / kTicks);
    *svg << "<text text-anchor=\"middle\" x=\"" << Coordinate(frame.X(step)) << "\" y=\""
         << Coordinate(frame.top + frame.height + 16) << "\">" << step << "</text>";
  }
}

}  // namespace

Html LossCurve(const Curves& curves) {
  const std::vector<CurvePoint> training = Thinned(curves.training), validation = Thinned(curves.validation);
  Html svg;
  if (training.empty() && validation.empty()) {
    svg << "<p>No step has been measured yet.</p>";
    return svg;
  }
  Frame frame{.left = 56, .top = 10, .width = 650, .height = 200};
  Fit(curves, training, validation, &frame);
  std::string description = absl::StrCat("Steps 0 to ", frame.steps, ".");
  if (!training.empty()) {
    absl::StrAppend(&description, " Training loss from ", base::Figure(training.front().loss), " to ",
                    base::Figure(training.back().loss), ".");
  }
  if (!validation.empty()) {
    absl::StrAppend(&description, " Validation loss from ", base::Figure(validation.front().loss), " to ",
                    base::Figure(validation.back().loss), ".");
  }
  svg << "<figure><svg class=\"curve\" viewBox=\"0 0 720 236\" role=\"img\" aria-label=\"Loss by step. " << description
      << "\">";
  DrawAxes(frame, &svg);
  svg << "<polyline class=\"training\" points=\"" << Polyline(training, frame) << "\"/>";
  svg << "<polyline class=\"validation\" points=\"" << Polyline(validation, frame) << "\"/>";
  for (const CurvePoint& point : validation) {
    svg << "<circle class=\"validation\" r=\"3\" cx=\"" << Coordinate(frame.X(point.step)) << "\" cy=\""
        << Coordinate(frame.Y(point.loss)) << "\"><title>step " << point.step << ": validation loss "
        << base::Figure(point.loss) << "</title></circle>";
  }
  svg << "</svg><figcaption>Loss by step: <span class=\"training\">training, line</span>, <span class=\"validation\">"
         "validation, line with dots</span>. "
      << description << "</figcaption></figure>";
  return svg;
}

Html Sparkline(const Curves& curves, const std::string& label) {
  Html svg;
  const std::vector<CurvePoint> training = Thinned(curves.training);
  if (training.empty()) return svg;
  Frame frame{.left = 1, .top = 1, .width = 118, .height = 22};
  Fit(curves, training, {}, &frame);
  svg << "<svg class=\"sparkline\" viewBox=\"0 0 120 24\" role=\"img\" aria-label=\"" << label
      << "\"><polyline class=\"training\" points=\"" << Polyline(training, frame) << "\"/></svg>";
  return svg;
}

}  // namespace qzo::server
