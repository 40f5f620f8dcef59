// A tokenizer.json: what loads encodes any text and decodes what it made of it.
#include "fuzz/fuzz.h"
#include "tokenizer/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  static const std::string directory = ScratchDirectory();
  WriteScratch(directory + "/tokenizer.json", AsText(data, size));
  const auto tokenizer = Tokenizer::Load(directory);
  if (!tokenizer.ok()) return 0;
  for (const char* text : {"", "Hello, world!  12345\n\n\tx", "\xC3\xA9t\xC3\xA9 \xF0\x9F\x98\x80 </s><|im_end|>",
                           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\xFF\xFE"}) {
    const auto ids = (*tokenizer)->Encode(text, SpecialTokens::kAdd);
    if (!ids.ok()) continue;
    for (const int32_t id : *ids) CHECK(id >= 0 && id < (*tokenizer)->vocab_size()) << id;
    (void)(*tokenizer)->Decode(*ids, true);
  }
  return 0;
}
