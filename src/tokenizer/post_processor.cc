#include "tokenizer/post_processor.h"

#include "absl/strings/str_cat.h"
#include "base/names.h"
#include "base/status.h"
#include "tokenizer/config_reader.h"
#include "tokenizer/vocabulary.h"

namespace tandem {
namespace {

// special_tokens.NAME.ids of a TemplateProcessing.
absl::StatusOr<std::vector<int32_t>> IdsOf(const Json& config, const std::string& path, const std::string& name) {
  const std::string tokens_path = path + ".special_tokens";
  const Json* tokens = FindField(config, "special_tokens");
  const Json* token = tokens == nullptr ? nullptr : FindField(*tokens, name);
  if (token == nullptr) {
    std::vector<std::string> known;
    if (tokens != nullptr && tokens->is_object()) {
      for (const auto& [key, value] : tokens->items()) known.push_back(key);
    }
    return absl::InvalidArgumentError(absl::StrCat(tokens_path, " has no '", name, "'", SuggestNames(name, known)));
  }
  const std::string ids_path = absl::StrCat(tokens_path, "['", name, "']");
  ASSIGN_OR_RETURN(const Json* list, ReadArray(*token, ids_path, "ids"));
  std::vector<int32_t> ids;
  for (const Json& id : *list) {
    const bool fits = id.is_number_unsigned() && id.get<uint64_t>() <= Vocabulary::kMaxId;
    if (!fits) return WrongType(ids_path + ".ids", id, absl::StrCat("ids from 0 to ", Vocabulary::kMaxId));
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

absl::StatusOr<AddedIds> ReadTemplate(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const Json* pieces, ReadArray(config, path, "single"));
  AddedIds added;
  int num_sequences = 0;
  for (size_t i = 0; i < pieces->size(); ++i) {
    const Json& piece = (*pieces)[i];
    const std::string piece_path = absl::StrCat(path, ".single[", i, "]");
    const Json* special = FindField(piece, "SpecialToken");
    const Json* sequence = FindField(piece, "Sequence");
    if (special == nullptr && sequence == nullptr) return WrongType(piece_path, piece, "a SpecialToken or a Sequence");
    if (sequence != nullptr) {
      ASSIGN_OR_RETURN(const std::string id, ReadField<std::string>(*sequence, piece_path + ".Sequence", "id"));
      if (id != "A") return NotSupported(piece_path + ".Sequence.id", id, {"A"});
      ++num_sequences;
      continue;
    }
    ASSIGN_OR_RETURN(const std::string id, ReadField<std::string>(*special, piece_path + ".SpecialToken", "id"));
    ASSIGN_OR_RETURN(const std::vector<int32_t> ids, IdsOf(config, path, id));
    std::vector<int32_t>& side = num_sequences == 0 ? added.before : added.behind;
    side.insert(side.end(), ids.begin(), ids.end());
  }
  if (num_sequences != 1) {
    return absl::InvalidArgumentError(absl::StrCat(path, ".single has ", num_sequences, " sequences, want 1"));
  }
  return added;
}

absl::StatusOr<AddedIds> ReadSequence(const Json& config, const std::string& path) {
  ASSIGN_OR_RETURN(const Json* processors, ReadArray(config, path, "processors"));
  AddedIds added;
  for (size_t i = 0; i < processors->size(); ++i) {
    ASSIGN_OR_RETURN(const AddedIds outer,
                     ReadPostProcessor(&(*processors)[i], absl::StrCat(path, ".processors[", i, "]")));
    added.before.insert(added.before.begin(), outer.before.begin(), outer.before.end());
    added.behind.insert(added.behind.end(), outer.behind.begin(), outer.behind.end());
  }
  return added;
}

}  // namespace

absl::StatusOr<AddedIds> ReadPostProcessor(const Json* config, const std::string& path) {
  if (config == nullptr) return AddedIds{};
  ASSIGN_OR_RETURN(const std::string type, ReadField<std::string>(*config, path, "type"));
  if (type == "ByteLevel") return AddedIds{};  // moves offsets only
  if (type == "TemplateProcessing") return ReadTemplate(*config, path);
  if (type == "Sequence") return ReadSequence(*config, path);
  return NotSupported(path + ".type", type, {"ByteLevel", "TemplateProcessing", "Sequence"});
}

}  // namespace tandem
