// A grammar in EBNF.
#include "fuzz/grammar_target.h"
#include "grammar/ebnf.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tandem::WriteByMasks(tandem::grammar::ParseEbnf(tandem::AsText(data, size)));
  return 0;
}
