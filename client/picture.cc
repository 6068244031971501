#include "client/picture.h"

#include <png.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace qzo::client {
namespace {

constexpr double kCurveWidth = 1.75;
constexpr uint32_t kRuleColour = 0xdadcdf;
constexpr int kScale = 2;  // pixels a unit

std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

const char* AnchorName(Picture::Anchor anchor) {
  switch (anchor) {
    case Picture::Anchor::kStart:
      return "start";
    case Picture::Anchor::kMiddle:
      return "middle";
    case Picture::Anchor::kEnd:
      return "end";
  }
  return "start";
}

constexpr int kGlyphWidth = 5, kGlyphHeight = 9, kGlyphAdvance = 6, kAboveBase = 7;

// Rows from the top, the leftmost dot in bit 4; the last two rows are below the base line.
struct Glyph {
  char letter;
  uint8_t rows[kGlyphHeight];
};
constexpr Glyph kGlyphs[] = {
    {' ', {}},
    {'+', {0x00, 0x04, 0x04, 0x1f, 0x04, 0x04, 0x00}},
    {',', {0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x04, 0x08}},
    {'-', {0x00, 0x00, 0x00, 0x0e, 0x00, 0x00, 0x00}},
    {'.', {0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x0c}},
    {'0', {0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e}},
    {'1', {0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e}},
    {'2', {0x0e, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1f}},
    {'3', {0x1f, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0e}},
    {'4', {0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02}},
    {'5', {0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e}},
    {'6', {0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e}},
    {'7', {0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08}},
    {'8', {0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e}},
    {'9', {0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c}},
    {'a', {0x00, 0x00, 0x0e, 0x01, 0x0f, 0x11, 0x0f}},
    {'b', {0x10, 0x10, 0x16, 0x19, 0x11, 0x11, 0x1e}},
    {'c', {0x00, 0x00, 0x0e, 0x10, 0x10, 0x11, 0x0e}},
    {'d', {0x01, 0x01, 0x0d, 0x13, 0x11, 0x11, 0x0f}},
    {'e', {0x00, 0x00, 0x0e, 0x11, 0x1f, 0x10, 0x0e}},
    {'f', {0x06, 0x09, 0x08, 0x1c, 0x08, 0x08, 0x08}},
    {'g', {0x00, 0x00, 0x0f, 0x11, 0x11, 0x11, 0x0f, 0x01, 0x0e}},
    {'h', {0x10, 0x10, 0x16, 0x19, 0x11, 0x11, 0x11}},
    {'i', {0x04, 0x00, 0x0c, 0x04, 0x04, 0x04, 0x0e}},
    {'j', {0x02, 0x00, 0x06, 0x02, 0x02, 0x02, 0x02, 0x12, 0x0c}},
    {'k', {0x10, 0x10, 0x12, 0x14, 0x18, 0x14, 0x12}},
    {'l', {0x0c, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0e}},
    {'m', {0x00, 0x00, 0x1a, 0x15, 0x15, 0x15, 0x15}},
    {'n', {0x00, 0x00, 0x16, 0x19, 0x11, 0x11, 0x11}},
    {'o', {0x00, 0x00, 0x0e, 0x11, 0x11, 0x11, 0x0e}},
    {'p', {0x00, 0x00, 0x1e, 0x11, 0x11, 0x11, 0x1e, 0x10, 0x10}},
    {'q', {0x00, 0x00, 0x0f, 0x11, 0x11, 0x11, 0x0f, 0x01, 0x01}},
    {'r', {0x00, 0x00, 0x16, 0x19, 0x10, 0x10, 0x10}},
    {'s', {0x00, 0x00, 0x0f, 0x10, 0x0e, 0x01, 0x1e}},
    {'t', {0x08, 0x08, 0x1c, 0x08, 0x08, 0x09, 0x06}},
    {'u', {0x00, 0x00, 0x11, 0x11, 0x11, 0x13, 0x0d}},
    {'v', {0x00, 0x00, 0x11, 0x11, 0x11, 0x0a, 0x04}},
    {'w', {0x00, 0x00, 0x11, 0x11, 0x15, 0x15, 0x0a}},
    {'x', {0x00, 0x00, 0x11, 0x0a, 0x04, 0x0a, 0x11}},
    {'y', {0x00, 0x00, 0x11, 0x11, 0x11, 0x11, 0x0f, 0x01, 0x0e}},
    {'z', {0x00, 0x00, 0x1f, 0x02, 0x04, 0x08, 0x1f}},
};
constexpr Glyph kBox = {0, {0x1f, 0x11, 0x11, 0x11, 0x11, 0x11, 0x1f}};

const Glyph& GlyphOf(char letter) {
  const auto* found = std::find_if(std::begin(kGlyphs), std::end(kGlyphs),
                                   [letter](const Glyph& glyph) { return glyph.letter == letter; });
  return found == std::end(kGlyphs) ? kBox : *found;
}

// Pixels in RGB, white at first. What lies outside is left out.
class Canvas {
 public:
  Canvas(int width, int height)
      : width_(width), height_(height), pixels_(static_cast<size_t>(width) * static_cast<size_t>(height) * 3, 255) {}

  // Every pixel by how much of it lies within half a width of the segment.
  void Segment(Picture::Point from, Picture::Point to, double width, uint32_t colour) {
    const double dx = to.x - from.x, dy = to.y - from.y, length2 = dx * dx + dy * dy, reach = width / 2 + 1;
    const int top = Row(std::min(from.y, to.y) - reach), bottom = Row(std::max(from.y, to.y) + reach);
    const int left = Column(std::min(from.x, to.x) - reach), right = Column(std::max(from.x, to.x) + reach);
    for (int y = top; y < bottom; ++y) {
      for (int x = left; x < right; ++x) {
        const double px = x + 0.5 - from.x, py = y + 0.5 - from.y;
        const double along = length2 > 0 ? std::clamp((px * dx + py * dy) / length2, 0.0, 1.0) : 0;
        Blend(x, y, colour, width / 2 + 0.5 - std::hypot(px - along * dx, py - along * dy));
      }
    }
  }

  // `x` and `y` are of the text's base line, in dots of `kScale` pixels.
  void Text(int x, int y, std::string_view text, uint32_t colour) {
    for (const char letter : text) {
      const Glyph& glyph = GlyphOf(letter);
      for (int row = 0; row < kGlyphHeight; ++row) {
        for (int column = 0; column < kGlyphWidth; ++column) {
          if ((glyph.rows[row] >> (kGlyphWidth - 1 - column) & 1) != 0)
            Dot((x + column) * kScale, (y - kAboveBase + row) * kScale, colour);
        }
      }
      x += kGlyphAdvance;
    }
  }

  // Possible errors: Internal.
  absl::StatusOr<std::string> Encoded() const {
    png_image image = {};
    image.version = PNG_IMAGE_VERSION;
    image.width = static_cast<png_uint_32>(width_);
    image.height = static_cast<png_uint_32>(height_);
    image.format = PNG_FORMAT_RGB;
    png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
    std::string out(bytes, '\0');
    if (png_image_write_to_memory(&image, out.data(), &bytes, /*convert_to_8_bit=*/0, pixels_.data(), /*row_stride=*/0,
                                  /*colormap=*/nullptr) == 0) {
      return absl::InternalError(absl::StrCat("libpng: ", image.message));
    }
    out.resize(bytes);
    return out;
  }

 private:
  int Row(double y) const { return std::clamp(static_cast<int>(std::floor(y)), 0, height_); }
  int Column(double x) const { return std::clamp(static_cast<int>(std::floor(x)), 0, width_); }

  void Dot(int left, int top, uint32_t colour) {
    for (int y = top; y < top + kScale; ++y) {
      for (int x = left; x < left + kScale; ++x) {
        if (x >= 0 && y >= 0 && x < width_ && y < height_) Blend(x, y, colour, 1);
      }
    }
  }

  void Blend(int x, int y, uint32_t colour, double share) {
    if (share <= 0) return;
    uint8_t* pixel = &pixels_[(static_cast<size_t>(y) * static_cast<size_t>(width_) + static_cast<size_t>(x)) * 3];
    for (int i = 0; i < 3; ++i) {
      const double wanted = colour >> (16 - 8 * i) & 0xff;
      pixel[i] = static_cast<uint8_t>(std::lround(pixel[i] + (wanted - pixel[i]) * std::min(share, 1.0)));
    }
  }

  const int width_, height_;
  std::vector<uint8_t> pixels_;
};

Picture::Point InPixels(Picture::Point point) { return {point.x * kScale, point.y * kScale}; }

}  // namespace

std::string ToSvg(const Picture& picture) {
  std::string out = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n"
      "<title>%s</title>\n<style>text{font:11px sans-serif}</style>\n",
      picture.width, picture.height, picture.width, picture.height, Escaped(picture.title));
  for (const Picture::Rule& rule : picture.rules) {
    absl::StrAppendFormat(&out, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#8884\"/>\n",
                          rule.from.x, rule.to.x, rule.from.y, rule.to.y);
  }
  for (const Picture::Curve& curve : picture.curves) {
    std::string points;
    for (const Picture::Point& point : curve.points)
      absl::StrAppendFormat(&points, "%s%.1f,%.1f", points.empty() ? "" : " ", point.x, point.y);
    absl::StrAppendFormat(&out, "<polyline points=\"%s\" fill=\"none\" stroke=\"#%06x\" stroke-width=\"%.2f\"/>\n",
                          points, curve.colour, kCurveWidth);
  }
  for (const Picture::Text& text : picture.texts) {
    absl::StrAppendFormat(&out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"#%06x\">%s</text>\n", text.at.x,
                          text.at.y, AnchorName(text.anchor), text.colour, Escaped(text.text));
  }
  return out + "</svg>\n";
}

absl::StatusOr<std::string> ToPng(const Picture& picture) {
  Canvas canvas(picture.width * kScale, picture.height * kScale);
  for (const Picture::Rule& rule : picture.rules)
    canvas.Segment(InPixels(rule.from), InPixels(rule.to), kScale, kRuleColour);
  for (const Picture::Curve& curve : picture.curves) {
    for (size_t i = 0; i < curve.points.size(); ++i) {  // from the point before, if there is one
      canvas.Segment(InPixels(curve.points[i > 0 ? i - 1 : 0]), InPixels(curve.points[i]), kCurveWidth * kScale,
                     curve.colour);
    }
  }
  for (const Picture::Text& text : picture.texts) {
    const int length = kGlyphAdvance * static_cast<int>(text.text.size());
    const int before = text.anchor == Picture::Anchor::kStart ? 0
                       : text.anchor == Picture::Anchor::kEnd ? length
                                                              : length / 2;
    canvas.Text(static_cast<int>(std::lround(text.at.x)) - before, static_cast<int>(std::lround(text.at.y)), text.text,
                text.colour);
  }
  return canvas.Encoded();
}

}  // namespace qzo::client
