#include "tokenizer/token_model.h"

#include "base/status.h"
#include "tokenizer/bpe.h"
#include "tokenizer/config_reader.h"
#include "tokenizer/unigram.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<TokenModel>> MakeTokenModel(const Json& config) {
  // Old files name no type; those with merges are BPE.
  ASSIGN_OR_RETURN(const std::string type, ReadField<std::string>(config, "model", "type", "BPE"));
  if (type == "BPE") return Bpe::Make(config);
  if (type == "Unigram") return Unigram::Make(config);
  return NotSupported("model.type", type, {"BPE", "Unigram"});
}

}  // namespace tandem
