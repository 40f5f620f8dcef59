#include "tokenizer/token_model.h"

#include "base/status.h"
#include "tokenizer/bpe.h"
#include "tokenizer/config_reader.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<TokenModel>> MakeTokenModel(const Json& config) {
  // Files of before 2020 name no type; all of them are BPE.
  ASSIGN_OR_RETURN(const std::string type, ReadField<std::string>(config, "model", "type", "BPE"));
  if (type == "BPE") return Bpe::Make(config);
  return NotSupported("model.type", type, {"BPE"});
}

}  // namespace tandem
