#include "make_random_model/tokenizer_files.h"

#include <string>
#include <vector>

namespace tandem {
namespace {

constexpr const char* kSpecials[] = {"<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>"};

std::string Utf8(int code) {
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3f))};
}

// GPT-2's alphabet: printable bytes stand for themselves, the others for the code points from 256 on.
std::vector<std::string> ByteAlphabet() {
  std::vector<std::string> alphabet;
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    alphabet.push_back(Utf8(printable ? byte : next++));
  }
  return alphabet;
}

}  // namespace

Json RandomTokenizer(int vocab) {
  Json tokens = Json::object(), merges = Json::array(), added = Json::array();
  int id = 0;
  for (const char* special : kSpecials) {
    added.push_back({{"id", id},
                     {"content", special},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
    tokens[special] = id++;
  }
  for (const std::string& byte : ByteAlphabet()) tokens[byte] = id++;
  // Words of lower-case letters, the shorter ones first, each merged from the one before its last letter.
  std::vector<std::string> shorter;
  for (char letter = 'a'; letter <= 'z'; ++letter) shorter.emplace_back(1, letter);
  while (id < vocab) {
    std::vector<std::string> longer;
    for (const std::string& start : shorter) {
      for (char letter = 'a'; letter <= 'z' && id < vocab; ++letter) {
        longer.push_back(start + letter);
        merges.push_back(Json::array({start, std::string(1, letter)}));
        tokens[longer.back()] = id++;
      }
    }
    shorter = std::move(longer);
  }
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", std::move(added)},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", std::move(tokens)},
            {"merges", std::move(merges)}}}};
}

Json RandomTokenizerConfig() {
  return {{"bos_token", kSpecials[kBosToken]},
          {"eos_token", kSpecials[kEosToken]},
          {"chat_template",
           "{{ bos_token }}{% for message in messages %}{{ '<|user|>' if message['role'] == 'user' else "
           "'<|assistant|>' }}{{ message['content'] }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' "
           "}}{% endif %}"},
          {"clean_up_tokenization_spaces", false},
          {"tokenizer_class", "PreTrainedTokenizerFast"}};
}

}  // namespace tandem
