#include <cstring>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/safetensors.h"
#include "store/test_files.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(WriteSafetensors, ReadsBackWhatWasWritten) {
  const TempDir dir;
  std::vector<uint16_t> half = {0x3f80, 0x4000, 0x4040};
  std::vector<float> full = {1.0f, 2.0f};
  std::vector<int32_t> ids = {-5};
  const std::string path = dir.Path("out.safetensors");
  const absl::Status status = WriteSafetensors(path,
                                               {{"a.half", {half.data(), DType::kBf16, Shape{3}}},
                                                {"b.full", {full.data(), DType::kF32, Shape{2, 1}}},
                                                {"c.ids", {ids.data(), DType::kI32, Shape{}}},
                                                {"d.none", {nullptr, DType::kF16, Shape{0}}}},
                                               {{"format", "pt"}});
  ASSERT_TRUE(status.ok()) << status;
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT((*file)->names(), ElementsAre("a.half", "b.full", "c.ids", "d.none"));
  EXPECT_EQ((*file)->metadata().at("format"), "pt");
  const TensorView a = *(*file)->Find("a.half");
  EXPECT_EQ(a.dtype, DType::kBf16);
  EXPECT_EQ(std::memcmp(a.data, half.data(), 6), 0);
  const TensorView b = *(*file)->Find("b.full");
  EXPECT_EQ(b.shape, (Shape{2, 1}));
  EXPECT_EQ(b.f32()[1], 2.0f);
  EXPECT_EQ(*static_cast<const int32_t*>((*file)->Find("c.ids")->data), -5);
  EXPECT_EQ((*file)->Find("d.none")->shape, Shape{0});
}

// Every tensor is aligned in the file itself, so that a mapping serves it without a copy.
TEST(WriteSafetensors, AlignsEveryTensorInTheFile) {
  const TempDir dir;
  std::vector<uint16_t> half(3);
  std::vector<float> full(1);
  for (size_t name_length = 1; name_length <= 8; ++name_length) {
    const std::string path = dir.Path("out.safetensors");
    ASSERT_TRUE(WriteSafetensors(path,
                                 {{std::string(name_length, 'a'), {half.data(), DType::kF16, Shape{3}}},
                                  {"b", {full.data(), DType::kF32, Shape{1}}}},
                                 {})
                    .ok());
    const std::string bytes = *ReadFile(path);
    uint64_t length;
    std::memcpy(&length, bytes.data(), sizeof(length));
    EXPECT_EQ(length % 8, 0u);
    EXPECT_EQ((*ParseJson(std::string_view(bytes).substr(8, length)))["b"]["data_offsets"][0], 0);
  }
}

TEST(WriteSafetensors, RefusesNamesThatCannotBeReadBack) {
  const TempDir dir;
  float value = 0;
  const TensorView view = View(&value, {1});
  const std::string path = dir.Path("out.safetensors");
  EXPECT_THAT(std::string(WriteSafetensors(path, {{"a", view}, {"a", view}}, {}).message()), HasSubstr("given twice"));
  EXPECT_THAT(std::string(WriteSafetensors(path, {{"__metadata__", view}}, {}).message()), HasSubstr("reserved name"));
  EXPECT_THAT(std::string(WriteSafetensors(path, {{std::string("a\0", 2), view}}, {}).message()),
              HasSubstr("control character"));
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(WriteSafetensors, MetadataThatIsNotUtf8DoesNotMakeTheFileUnreadable) {
  const TempDir dir;
  const std::string path = dir.Path("out.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, {}, {{"base", "models/\xff"}}).ok());
  EXPECT_TRUE(SafetensorsFile::Open(path).ok());
}

}  // namespace
}  // namespace tandem
