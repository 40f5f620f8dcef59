#include "base/status.h"

#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"

namespace tandem {
namespace {

absl::StatusOr<std::unique_ptr<int>> Make(int value) {
  if (value < 0) return absl::InvalidArgumentError("negative");
  return std::make_unique<int>(value);
}

absl::StatusOr<int> Sum(int a, int b) {
  ASSIGN_OR_RETURN(const std::unique_ptr<int> x, Make(a));
  std::unique_ptr<int> y;
  ASSIGN_OR_RETURN(y, Make(b));
  return *x + *y;
}

TEST(StatusTest, AssignOrReturnDeclaresAssignsAndMoves) {
  EXPECT_EQ(*Sum(2, 3), 5);
}

TEST(StatusTest, AssignOrReturnReturnsTheError) {
  EXPECT_EQ(Sum(-2, 3).status(), absl::InvalidArgumentError("negative"));
  EXPECT_EQ(Sum(2, -3).status(), absl::InvalidArgumentError("negative"));
}

TEST(StatusTest, ReturnIfErrorEvaluatesOnceAndReturnsOnlyErrors) {
  int evaluated = 0;
  const auto run = [&](absl::Status status) -> absl::Status {
    RETURN_IF_ERROR((++evaluated, status));
    return absl::AbortedError("went on");
  };
  EXPECT_EQ(run(absl::OkStatus()), absl::AbortedError("went on"));
  EXPECT_EQ(run(absl::NotFoundError("gone")), absl::NotFoundError("gone"));
  EXPECT_EQ(evaluated, 2);
}

TEST(StatusTest, AnnotateKeepsTheCodeAndPutsTheContextFirst) {
  EXPECT_EQ(Annotate(absl::NotFoundError("gone"), "a.json"), absl::NotFoundError("a.json: gone"));
  EXPECT_TRUE(Annotate(absl::OkStatus(), "a.json").ok());
}

}  // namespace
}  // namespace tandem
