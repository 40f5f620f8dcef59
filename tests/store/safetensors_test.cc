#include "store/safetensors.h"

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "store/test_files.h"

namespace tandem {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Floats(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

class SafetensorsTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(std::string_view bytes) {
    return SafetensorsFile::Open(dir_.Write("x.safetensors", bytes));
  }
  // The message of the refusal of a file with this header and data.
  std::string Refusal(std::string_view header, std::string_view data) {
    const auto file = Open(SafetensorsBytes(header, data));
    EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << header;
    EXPECT_THAT(std::string(file.status().message()), HasSubstr(dir_.Path("x.safetensors")));
    return std::string(file.status().message());
  }
  TempDir dir_;
};

TEST_F(SafetensorsTest, ReadsTensorsAndMetadata) {
  const auto file =
      Open(SafetensorsBytes(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},)"
                            R"("a":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}      )",
                            std::string("\x80\x3f\x00\x40", 4) + Floats({3.0f, 4.0f})));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT((*file)->names(), ElementsAre("a", "b"));
  EXPECT_EQ((*file)->metadata().at("format"), "pt");
  const auto a = (*file)->Find("a");
  ASSERT_TRUE(a.ok()) << a.status();
  EXPECT_EQ(a->dtype, DType::kBf16);
  EXPECT_EQ(a->shape, (Shape{1, 2}));
  EXPECT_EQ(static_cast<const uint16_t*>(a->data)[1], 0x4000);
  EXPECT_EQ((*file)->Find("b")->f32()[1], 4.0f);
}

TEST_F(SafetensorsTest, AnEmptyHeaderIsAFileWithoutTensors) {
  const auto file = Open(SafetensorsBytes("{}", ""));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->names().empty());
}

TEST_F(SafetensorsTest, ReadsScalarsAndTensorsWithoutElements) {
  const auto file = Open(SafetensorsBytes(R"({"e":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},)"
                                          R"("s":{"dtype":"I32","shape":[],"data_offsets":[0,4]}})",
                                          std::string("\x05\0\0\0", 4)));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->Find("e")->shape.num_elements(), 0);
  EXPECT_EQ(*static_cast<const int32_t*>((*file)->Find("s")->data), 5);
}

TEST_F(SafetensorsTest, ATensorThatTheFileDoesNotAlignIsServedAligned) {
  // The header's length is odd, so the data section begins at an odd address.
  std::string header = R"({"x":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}})";
  if (header.size() % 2 == 0) header += " ";
  const auto file = Open(SafetensorsBytes(header, Floats({1.0f, 2.0f, 3.0f})));
  ASSERT_TRUE(file.ok()) << file.status();
  const auto x = (*file)->Find("x");
  ASSERT_TRUE(x.ok()) << x.status();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(x->data) % alignof(float), 0u);
  EXPECT_EQ(x->f32()[2], 3.0f);
  EXPECT_EQ((*file)->Find("x")->data, x->data) << "one copy, kept";
}

TEST_F(SafetensorsTest, MisalignedTensorsMayBeAskedForByManyThreads) {
  const auto file = Open(SafetensorsBytes(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", Floats({1.0f})));
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 100; ++j) EXPECT_EQ((*file)->Find("x")->f32()[0], 1.0f);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(SafetensorsTest, AnUnknownNameSuggestsTheNearest) {
  const auto file =
      Open(SafetensorsBytes(R"({"lm_head.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", Floats({1.0f})));
  ASSERT_TRUE(file.ok()) << file.status();
  const absl::Status status = (*file)->Find("lm_head.weigth").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("did you mean 'lm_head.weight'?"));
}

TEST_F(SafetensorsTest, UnsupportedDtypesAreRefusedOnlyWhenAskedFor) {
  const auto file = Open(SafetensorsBytes(R"({"ok":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                                          R"("q":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[4,8]},)"
                                          R"("z":{"dtype":"F4","shape":[4],"data_offsets":[8,10]}})",
                                          "0123456789"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->Find("ok").ok());
  EXPECT_THAT(std::string((*file)->Find("q").status().message()),
              AllOf(HasSubstr("tensor 'q'"), HasSubstr("dtype F8_E4M3, want F32, BF16, F16 or I32")));
  EXPECT_THAT(std::string((*file)->Find("z").status().message()), HasSubstr("dtype F4, want"));
}

TEST_F(SafetensorsTest, FiveDimensionsAreRefusedOnlyWhenAskedFor) {
  const auto file =
      Open(SafetensorsBytes(R"({"x":{"dtype":"F32","shape":[1,1,1,1,1],"data_offsets":[0,4]}})", Floats({1.0f})));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(std::string((*file)->Find("x").status().message()), HasSubstr("5 dimensions, want at most 4"));
}

TEST_F(SafetensorsTest, MissingFileIsNotFound) {
  EXPECT_EQ(SafetensorsFile::Open(dir_.Path("absent")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SafetensorsTest, RefusesEveryPrefixOfAFile) {
  const std::string whole =
      SafetensorsBytes(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", Floats({1.0f, 2.0f}));
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto file = Open(std::string_view(whole).substr(0, size));
    ASSERT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << size;
  }
  EXPECT_TRUE(Open(whole).ok());
}

TEST_F(SafetensorsTest, RefusesHeaderLengthsBeyondTheFile) {
  for (const uint64_t length : {uint64_t{3}, uint64_t{100'000'001}, uint64_t{1} << 63, UINT64_MAX, UINT64_MAX - 7}) {
    std::string bytes = SafetensorsBytes("{}", "");
    std::memcpy(bytes.data(), &length, sizeof(length));
    const auto file = Open(bytes);
    ASSERT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(file.status().message()), HasSubstr("want at most 2"));
  }
}

TEST_F(SafetensorsTest, SaysThatAGitLfsPointerIsNone) {
  const auto file = Open("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
  EXPECT_THAT(std::string(file.status().message()), HasSubstr("Git LFS pointer"));
}

TEST_F(SafetensorsTest, RefusesHeadersThatAreNotAJsonObject) {
  EXPECT_THAT(Refusal("[]", ""), HasSubstr("header is an array, want an object"));
  EXPECT_THAT(Refusal("7", ""), HasSubstr("header is the number 7, want an object"));
  EXPECT_THAT(Refusal("{\"x\":", ""), HasSubstr("line 1, column"));
  EXPECT_THAT(Refusal("", ""), HasSubstr("header"));
  EXPECT_THAT(Refusal("{} {}", ""), HasSubstr("header"));
  EXPECT_THAT(Refusal("{\"\xff\":1}", ""), HasSubstr("header"));
  EXPECT_THAT(Refusal(std::string(100'000, '['), ""), HasSubstr("nested deeper"));
}

TEST_F(SafetensorsTest, RefusesWrongTypesInAnEntry) {
  const auto refusal = [&](std::string_view entry) {
    const std::string message = Refusal("{\"x\":" + std::string(entry) + "}", "0123");
    EXPECT_THAT(message, HasSubstr("tensor 'x'"));
    return message;
  };
  EXPECT_THAT(refusal("[]"), HasSubstr("is an array, want an object"));
  EXPECT_THAT(refusal(R"({"shape":[1],"data_offsets":[0,4]})"), HasSubstr("dtype is missing"));
  EXPECT_THAT(refusal(R"({"dtype":1,"shape":[1],"data_offsets":[0,4]})"), HasSubstr("dtype is the number 1"));
  EXPECT_THAT(refusal(R"({"dtype":"F32","data_offsets":[0,4]})"), HasSubstr("shape is missing"));
  EXPECT_THAT(refusal(R"({"dtype":"F32","shape":1,"data_offsets":[0,4]})"), HasSubstr("shape is the number 1"));
  EXPECT_THAT(refusal(R"({"dtype":"F32","shape":["1"],"data_offsets":[0,4]})"), HasSubstr("shape holds"));
  EXPECT_THAT(refusal(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"), HasSubstr("shape holds the number -1"));
  EXPECT_THAT(refusal(R"({"dtype":"F32","shape":[1.0],"data_offsets":[0,4]})"), HasSubstr("shape holds"));
  EXPECT_THAT(refusal(R"({"dtype":"F32","shape":[1]})"), HasSubstr("data_offsets is missing"));
  EXPECT_THAT(refusal(R"({"dtype":"F32","shape":[1],"data_offsets":[0]})"), HasSubstr("has 1 items, want 2"));
  EXPECT_THAT(refusal(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4,4]})"), HasSubstr("has 3 items, want 2"));
  EXPECT_THAT(refusal(R"({"dtype":"F32","shape":[1],"data_offsets":[null,4]})"), HasSubstr("holds null"));
}

TEST_F(SafetensorsTest, RefusesShapesThatOverflow) {
  const auto refusal = [&](std::string_view shape) {
    return Refusal(R"({"x":{"dtype":"F32","shape":)" + std::string(shape) + R"(,"data_offsets":[0,4]}})", "0123");
  };
  EXPECT_THAT(refusal("[9223372036854775808]"), HasSubstr("want integers from 0 to 2^63 - 1"));
  EXPECT_THAT(refusal("[1e30]"), HasSubstr("want integers"));
  EXPECT_THAT(refusal("[99999999999999999999999]"), HasSubstr("want integers"));
  EXPECT_THAT(refusal("[9223372036854775807]"), HasSubstr("overflows 64 bits"));
  // 2^32 * 2^30 * 4 bytes is 2^64: it wraps to 0 where the product is not checked.
  EXPECT_THAT(refusal("[4294967296,1073741824]"), HasSubstr("overflows 64 bits"));
}

TEST_F(SafetensorsTest, RefusesOffsetsThatDoNotFitTheDataOrTheShape) {
  const auto refusal = [&](std::string_view offsets) {
    return Refusal(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":)" + std::string(offsets) + "}}", "0123");
  };
  EXPECT_THAT(refusal("[0,8]"), HasSubstr("want ascending and at most 4"));
  EXPECT_THAT(refusal("[4,0]"), HasSubstr("want ascending"));
  EXPECT_THAT(refusal("[0,9223372036854775807]"), HasSubstr("at most 4"));
  EXPECT_THAT(refusal("[0,3]"), HasSubstr("has 3 bytes, want 4 for F32[1]"));
}

TEST_F(SafetensorsTest, RefusesOverlapsHolesAndTrailingBytes) {
  const auto two = [](std::string_view first, std::string_view second) {
    return R"({"a":{"dtype":"F32","shape":[1],"data_offsets":)" + std::string(first) +
           R"(},"b":{"dtype":"F32","shape":[1],"data_offsets":)" + std::string(second) + "}}";
  };
  EXPECT_THAT(Refusal(two("[0,4]", "[2,6]"), "012345"), AllOf(HasSubstr("tensor 'b'"), HasSubstr("overlaps")));
  EXPECT_THAT(Refusal(two("[0,4]", "[0,4]"), "0123"), HasSubstr("overlaps"));
  EXPECT_THAT(Refusal(two("[0,4]", "[5,9]"), "012345678"), HasSubstr("a hole"));
  EXPECT_THAT(Refusal(two("[4,8]", "[8,12]"), "012345678901"), AllOf(HasSubstr("tensor 'a'"), HasSubstr("a hole")));
  EXPECT_THAT(Refusal(two("[0,4]", "[4,8]"), "0123456789"), HasSubstr("2 bytes after the last tensor"));
}

TEST_F(SafetensorsTest, RefusesRepeatedKeys) {
  EXPECT_THAT(Refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                      R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                      "0123"),
              HasSubstr("the key 'a' twice"));
  EXPECT_THAT(Refusal(R"({"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}})", "0123"),
              HasSubstr("the key 'dtype' twice"));
}

TEST_F(SafetensorsTest, RefusesControlCharactersInNamesAndOverlongNames) {
  EXPECT_THAT(Refusal(R"({"a\u0000b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "0123"),
              AllOf(HasSubstr("control character"), HasSubstr("a\\x00")));
  EXPECT_THAT(
      Refusal("{\"" + std::string(5000, 'n') + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "0123"),
      HasSubstr("name of 5000 bytes, want at most 4096"));
}

TEST_F(SafetensorsTest, RefusesMetadataThatIsNotStrings) {
  EXPECT_THAT(Refusal(R"({"__metadata__":{"format":1}})", ""), HasSubstr("'format' is the number 1, want a string"));
  EXPECT_THAT(Refusal(R"({"__metadata__":[]})", ""), HasSubstr("__metadata__ is an array, want an object"));
}

}  // namespace
}  // namespace tandem
