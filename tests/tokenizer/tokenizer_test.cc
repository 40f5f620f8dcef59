#include "tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test_files.h"

namespace tandem {
namespace {
TEST(TokenizerTest, RefusesInvalidUtf8WithItsOffset) {}
}  // namespace
}  // namespace tandem
