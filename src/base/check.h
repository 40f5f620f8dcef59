// CHECK: a broken invariant is a programmer's error; it says where and ends the process. Input never reaches a CHECK.
#pragma once

#include <sstream>
#include <string>

namespace tandem {

// Collects the message of a failed CHECK and aborts when it goes out of scope.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

}  // namespace tandem

#define CHECK(condition)                                      \
  switch (0)                                                  \
  case 0:                                                     \
  default:                                                    \
    if (__builtin_expect(static_cast<bool>(condition), true)) \
      ;                                                       \
    else                                                      \
      ::tandem::CheckFailure(__FILE__, __LINE__, #condition).stream()

#define CHECK_EQ(a, b) CHECK((a) == (b)) << "got " << (a) << ", want " << (b) << " "
#define CHECK_LE(a, b) CHECK((a) <= (b)) << "got " << (a) << ", want at most " << (b) << " "
#define CHECK_LT(a, b) CHECK((a) < (b)) << "got " << (a) << ", want less than " << (b) << " "
#define CHECK_GE(a, b) CHECK((a) >= (b)) << "got " << (a) << ", want at least " << (b) << " "
#define CHECK_GT(a, b) CHECK((a) > (b)) << "got " << (a) << ", want more than " << (b) << " "
