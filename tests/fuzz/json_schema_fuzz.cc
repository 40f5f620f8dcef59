// A JSON schema of structured output.
#include "fuzz/grammar_target.h"
#include "grammar/json_schema.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tandem::WriteByMasks(tandem::grammar::ParseJsonSchema(tandem::AsText(data, size)));
  return 0;
}
