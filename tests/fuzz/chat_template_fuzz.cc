// A chat template: parses or is refused, renders or is stopped, within its sandbox.
#include "base/json.h"
#include "fuzz/fuzz.h"
#include "tokenizer/chat_template.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  static const OrderedJson variables = {
      {"messages",
       {{{"role", "system"}, {"content", "Be brief."}},
        {{"role", "user"}, {"content", "Hi \xC3\xA9"}},
        {{"role", "assistant"}, {"content", nullptr}, {"tool_calls", {{{"function", {{"name", "f"}}}}}}}}},
      {"tools", {{{"type", "function"}, {"function", {{"name", "f"}, {"parameters", OrderedJson::object()}}}}}},
      {"add_generation_prompt", true}};
  const auto parsed =
      ChatTemplate::Parse(std::string(AsText(data, size)), Json{{"bos_token", "<s>"}, {"eos_token", "</s>"}});
  if (parsed.ok()) (void)(*parsed)->Render(variables, absl::UnixEpoch());
  return 0;
}
