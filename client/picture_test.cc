#include "client/picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <png.h>

#include <array>

#include "tests/support/status_matchers.h"

namespace qzo::client {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ToSvg, HoldsEveryCurveAndNoMarkupOfTexts) {
  const Picture picture{.width = 20,
                        .height = 10,
                        .title = "x & y",
                        .rules = {{{1, 2}, {3, 4}}},
                        .curves = {{{{0, 1}, {4, 0.5}}, 0xff0080}},
                        .texts = {{{5, 6}, "<a>", Picture::Anchor::kEnd}}};
  EXPECT_THAT(ToSvg(picture),
              AllOf(HasSubstr("<title>x &amp; y</title>"), HasSubstr(">&lt;a&gt;</text>"), Not(HasSubstr("<a>")),
                    HasSubstr("points=\"0.0,1.0 4.0,0.5\" fill=\"none\" stroke=\"#ff0080\""),
                    HasSubstr("text-anchor=\"end\"")));
}

// What another program would see of the file.
class Pixels {
 public:
  explicit Pixels(const std::string& png) {
    image_.version = PNG_IMAGE_VERSION;
    EXPECT_NE(png_image_begin_read_from_memory(&image_, png.data(), png.size()), 0) << image_.message;
    image_.format = PNG_FORMAT_RGB;
    pixels_.resize(PNG_IMAGE_SIZE(image_));
    EXPECT_NE(png_image_finish_read(&image_, nullptr, pixels_.data(), 0, nullptr), 0) << image_.message;
  }
  uint32_t width() const { return image_.width; }
  uint32_t height() const { return image_.height; }
  const std::vector<uint8_t>& all() const { return pixels_; }
  std::array<int, 3> At(size_t x, size_t y) const {
    const uint8_t* pixel = &pixels_[(y * image_.width + x) * 3];
    return {pixel[0], pixel[1], pixel[2]};
  }
  // Rows of what is not white within a rectangle.
  std::vector<std::string> Shape(size_t left, size_t top, size_t columns, size_t rows) const {
    std::vector<std::string> shape;
    for (size_t y = top; y < top + rows; y += 2) {
      std::string& row = shape.emplace_back();
      for (size_t x = left; x < left + columns; x += 2) row += At(x, y)[0] == 255 ? '.' : '#';
    }
    return shape;
  }

 private:
  png_image image_ = {};
  std::vector<uint8_t> pixels_;
};

TEST(ToPng, DrawsLinesWhereTheyAre) {
  Picture picture{.width = 20, .height = 10};
  picture.curves.push_back({{{2, 5}, {18, 5}}, 0x0969da});
  ASSERT_OK_AND_ASSIGN(const std::string png, ToPng(picture));
  const Pixels pixels(png);
  EXPECT_EQ(pixels.width(), 40u);
  EXPECT_EQ(pixels.height(), 20u);
  EXPECT_THAT(pixels.At(20, 10), ElementsAre(0x09, 0x69, 0xda));
  EXPECT_THAT(pixels.At(20, 8), Not(ElementsAre(255, 255, 255))) << "its edge is soft";
  EXPECT_THAT(pixels.At(20, 6), ElementsAre(255, 255, 255));
  EXPECT_THAT(pixels.At(0, 10), ElementsAre(255, 255, 255));
  EXPECT_THAT(pixels.At(20, 14), ElementsAre(255, 255, 255));
}

TEST(ToPng, DrawsASinglePointAndNothingOutside) {
  Picture picture{.width = 10, .height = 10};
  picture.curves.push_back({{{5, 5}}, 0});
  picture.curves.push_back({{{-50, -50}, {-20, 3000}}, 0});
  picture.curves.push_back({{}, 0});
  picture.texts.push_back({{-20, -20}, "far away"});
  ASSERT_OK_AND_ASSIGN(const std::string png, ToPng(picture));
  const Pixels pixels(png);
  EXPECT_THAT(pixels.At(10, 10), ElementsAre(0, 0, 0));
  EXPECT_THAT(pixels.At(2, 2), ElementsAre(255, 255, 255));
  ASSERT_OK_AND_ASSIGN(const std::string empty, ToPng(Picture{.width = 3, .height = 2}));
  EXPECT_THAT(Pixels(empty).all(), Each(255));
}

TEST(ToPng, WritesNamesAndNumbers) {
  Picture picture{.width = 40, .height = 12};
  picture.texts.push_back({{2, 9}, "a7"});
  picture.texts.push_back({{38, 9}, "é", Picture::Anchor::kEnd});
  ASSERT_OK_AND_ASSIGN(const std::string png, ToPng(picture));
  const Pixels pixels(png);
  EXPECT_THAT(pixels.Shape(4, 4, 22, 14), ElementsAre("......#####", "..........#", ".###.....#.", "....#...#..",
                                                      ".####..#...", "#...#..#...", ".####..#..."));
  EXPECT_THAT(pixels.Shape(52, 4, 10, 14), ElementsAre("#####", "#...#", "#...#", "#...#", "#...#", "#...#", "#####"));
}

}  // namespace
}  // namespace qzo::client
