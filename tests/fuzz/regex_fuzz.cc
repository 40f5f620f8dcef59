// A regular expression of structured output.
#include "fuzz/grammar_target.h"
#include "grammar/regex_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tandem::WriteByMasks(tandem::grammar::ParseRegex(tandem::AsText(data, size)));
  return 0;
}
