// A drawing of lines and short texts, as SVG or PNG. Pure.
#ifndef QZO_CLIENT_PICTURE_H_
#define QZO_CLIENT_PICTURE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace qzo::client {

struct Picture {
  // x to the right, y down, from the upper left corner.
  struct Point {
    double x = 0;
    double y = 0;
  };
  struct Rule {  // of a grid
    Point from;
    Point to;
  };
  struct Curve {
    std::vector<Point> points;
    uint32_t colour = 0;  // 0xRRGGBB
  };
  enum class Anchor { kStart, kMiddle, kEnd };
  struct Text {
    Point at;  // on the base line
    std::string text;
    Anchor anchor = Anchor::kStart;
    uint32_t colour = 0x808890;
  };

  int width = 0;
  int height = 0;
  std::string title;  // for those who cannot see it
  std::vector<Rule> rules = {};
  std::vector<Curve> curves = {};
  std::vector<Text> texts = {};
};

// A document of its own, on whatever is behind it.
std::string ToSvg(const Picture& picture);

// Two pixels a unit, on white. Its letters are those of names and numbers, a to z, digits and "+,-."; any other is a
// box. Possible errors: Internal.
absl::StatusOr<std::string> ToPng(const Picture& picture);

}  // namespace qzo::client

#endif  // QZO_CLIENT_PICTURE_H_
