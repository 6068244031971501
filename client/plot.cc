#include "client/plot.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "client/output.h"

namespace qzo::client {
namespace {

constexpr int kWidth = 720, kHeight = 260, kLeft = 56, kTop = 28, kRight = 10, kBottom = 24;
constexpr int kTicks = 4;
constexpr uint32_t kColours[] = {0x0969da, 0xbc4c00, 0x6639ba, 0x116329};

// What the points span; both ranges are more than nothing.
struct Range {
  double last = 1, low = INFINITY, high = -INFINITY;
  bool empty() const { return low > high; }
};

Range RangeOf(const std::vector<LossSeries>& series) {
  Range range;
  for (const LossSeries& one : series) {
    for (const LossPoint& point : one.points) {
      range.last = std::max(range.last, point.step);
      range.low = std::min(range.low, point.loss);
      range.high = std::max(range.high, point.loss);
    }
  }
  if (!range.empty() && range.low == range.high) {
    range.low -= 0.05 * std::abs(range.low) + 0.01;
    range.high += 0.05 * std::abs(range.high) + 0.01;
  }
  return range;
}

}  // namespace

std::vector<LossSeries> LossesOf(const std::vector<v1::JobEvent>& events, const std::string& label) {
  std::vector<LossSeries> series = {{label + "training", '.'}, {label + "validation", 'o'}};
  for (const v1::JobEvent& event : events) {
    if (event.has_step() && std::isfinite(event.step().train_loss()))
      series[0].points.push_back({static_cast<double>(event.step().step()), event.step().train_loss()});
    if (event.has_evaluation() && event.evaluation().split() == "validation" &&
        std::isfinite(event.evaluation().loss()))
      series[1].points.push_back({static_cast<double>(event.evaluation().step()), event.evaluation().loss()});
  }
  std::erase_if(series, [](const LossSeries& one) { return one.points.empty(); });
  return series;
}

std::string TextPlot(const std::vector<LossSeries>& series, int columns, int rows) {
  const Range range = RangeOf(series);
  if (range.empty()) return "";
  constexpr int kAxis = 10;  // columns of the scale
  const int width = std::max(columns - kAxis - 1, 10);
  std::vector<std::string> grid(static_cast<size_t>(rows), std::string(static_cast<size_t>(width), ' '));
  for (const LossSeries& one : series) {
    for (const LossPoint& point : one.points) {
      const double x = point.step / range.last * (width - 1);
      const double y = (range.high - point.loss) / (range.high - range.low) * (rows - 1);
      grid[static_cast<size_t>(std::lround(y))][static_cast<size_t>(std::lround(x))] = one.mark;
    }
  }
  std::string out;
  for (int row = 0; row < rows; ++row) {
    const double loss = range.high - (range.high - range.low) * row / (rows - 1);
    const bool labelled = row == 0 || row == rows - 1 || row == rows / 2;
    std::string& line = grid[static_cast<size_t>(row)];
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&out, labelled ? absl::StrFormat("%9.4g", loss) : std::string(9, ' '), " |", line, "\n");
  }
  absl::StrAppend(&out, std::string(kAxis, ' '), "+", std::string(static_cast<size_t>(width), '-'), "\n",
                  std::string(kAxis + 1, ' '), "0", absl::StrFormat("%*.0f", width - 1, range.last), "\n");
  absl::StrAppend(&out, std::string(kAxis + 1, ' '));
  for (const LossSeries& one : series) absl::StrAppend(&out, std::string(1, one.mark), " ", one.name, "   ");
  out.erase(out.find_last_not_of(' ') + 1);
  return out + "\n";
}

Picture LossPicture(const std::vector<LossSeries>& series, const std::string& title) {
  Range range = RangeOf(series);
  if (range.empty()) range = {1, 0, 1};
  const auto x = [&](double step) { return kLeft + (kWidth - kLeft - kRight) * step / range.last; };
  const auto y = [&](double loss) {
    return kTop + (kHeight - kTop - kBottom) * (range.high - loss) / (range.high - range.low);
  };
  Picture picture{.width = kWidth, .height = kHeight, .title = absl::StrCat("Loss of ", title, " by step")};
  picture.texts.push_back({{kLeft, 16}, title});
  for (int tick = 0; tick <= kTicks; ++tick) {
    const double loss = range.low + (range.high - range.low) * tick / kTicks;
    const double step = std::round(range.last * tick / kTicks);
    picture.rules.push_back({{kLeft, y(loss)}, {kWidth - kRight, y(loss)}});
    picture.texts.push_back({{kLeft - 6, y(loss) + 4}, absl::StrFormat("%.3g", loss), Picture::Anchor::kEnd});
    picture.texts.push_back({{x(step), kHeight - 6}, absl::StrFormat("%.0f", step), Picture::Anchor::kMiddle});
  }
  for (size_t i = 0; i < series.size(); ++i) {
    const uint32_t colour = kColours[i % std::size(kColours)];
    Picture::Curve& curve = picture.curves.emplace_back(Picture::Curve{.points = {}, .colour = colour});
    for (const LossPoint& point : series[i].points) curve.points.push_back({x(point.step), y(point.loss)});
    const double line = kTop + 14 * static_cast<double>(i + 1);
    picture.texts.push_back({{kWidth - kRight, line}, series[i].name, Picture::Anchor::kEnd, colour});
  }
  return picture;
}

Table JobDifferences(const v1::FineTuningJob& a, const v1::FineTuningJob& b) {
  Table table({"", ShortName(a.name()), ShortName(b.name())});
  const auto settings = [](const v1::FineTuningJob& job) {
    return nlohmann::json::parse(ToJson(job.spec(), /*one_line=*/true)).flatten();
  };
  const nlohmann::json in_a = settings(a), in_b = settings(b);
  nlohmann::json all = in_a;
  all.update(in_b);
  const auto text = [](const nlohmann::json& in, const std::string& key) {
    if (!in.contains(key)) return std::string();
    return in[key].is_string() ? in[key].get<std::string>() : in[key].dump();
  };
  for (const auto& [key, value] : all.items()) {
    if (key.empty()) continue;  // what flattening makes of a job without settings
    const std::string of_a = text(in_a, key), of_b = text(in_b, key);
    if (of_a != of_b) table.Add({absl::StrReplaceAll(key.substr(1), {{"/", "."}}), of_a, of_b});
  }
  const auto loss = [](const v1::Evaluation& e) { return e.rows() > 0 ? Figure(e.loss()) : ""; };
  const auto accuracy = [](const v1::Evaluation& e) {
    return e.f1_size() > 0 ? absl::StrFormat("%.2f%%", 100 * e.accuracy()) : "";
  };
  const v1::Progress &pa = a.progress(), &pb = b.progress();
  table.Add({"state", StateName(a.state()), StateName(b.state())});
  table.Add({"steps", absl::StrCat(pa.step()), absl::StrCat(pb.step())});
  table.Add({"training loss", Figure(pa.train_loss()), Figure(pb.train_loss())});
  table.Add({"best validation loss", loss(pa.best_validation()), loss(pb.best_validation())});
  table.Add({"test loss", loss(pa.final_test()), loss(pb.final_test())});
  table.Add({"test accuracy", accuracy(pa.final_test()), accuracy(pb.final_test())});
  return table;
}

}  // namespace qzo::client
