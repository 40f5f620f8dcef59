// Inference without a model: a tokenizer of bytes, a sink that remembers, a model that follows a script.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tandem/batch.h"
#include "tandem/generation.h"
#include "tokenizer/tokenizer.h"

namespace tandem {

// Ids below 256 are bytes; kEos is a special token "</s>"; words[i] is id kFirstWord + i.
class ByteTokenizer : public Tokenizer {
 public:
  static constexpr int32_t kEos = 256;
  static constexpr int32_t kFirstWord = 257;

  explicit ByteTokenizer(std::vector<std::string> words = {}) : words_(std::move(words)) {}

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, SpecialTokens) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const override {
    const std::unique_ptr<DecodeStream> stream = NewDecodeStream(skip_special_tokens);
    std::string text;
    for (const int32_t id : ids) text += stream->Append(id);
    return text + stream->Flush();
  }
  int vocab_size() const override { return kFirstWord + static_cast<int>(words_.size()); }
  std::optional<int32_t> TokenToId(std::string_view) const override { return std::nullopt; }
  std::string IdToToken(int32_t id) const override {
    if (id < 256) return std::string(1, static_cast<char>(id));
    return id == kEos ? "</s>" : words_.at(id - kFirstWord);
  }
  bool IsSpecial(int32_t id) const override { return id == kEos; }
  std::unique_ptr<DecodeStream> NewDecodeStream(bool skip_special_tokens) const override {
    return std::make_unique<Stream>(this, skip_special_tokens);
  }

 private:
  // Holds the bytes of an unfinished character back. Fed with well-formed UTF-8 only, but for its end.
  class Stream : public DecodeStream {
   public:
    Stream(const ByteTokenizer* tokenizer, bool skip_special) : tokenizer_(tokenizer), skip_special_(skip_special) {}
    std::string Append(int32_t id) override {
      if (skip_special_ && tokenizer_->IsSpecial(id)) return "";
      pending_ += tokenizer_->IdToToken(id);
      size_t whole = 0;
      while (whole < pending_.size()) {
        const auto lead = static_cast<unsigned char>(pending_[whole]);
        const size_t length = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
        if (whole + length > pending_.size()) break;
        whole += length;
      }
      std::string text = pending_.substr(0, whole);
      pending_.erase(0, whole);
      return text;
    }
    std::string Flush() override { return std::exchange(pending_, "").empty() ? "" : "\uFFFD"; }

   private:
    const ByteTokenizer* tokenizer_;
    bool skip_special_;
    std::string pending_;
  };

  std::vector<std::string> words_;
};

// What a client has seen of one request. Fails the test where the contract of GenerationSink is broken.
class RecordingSink : public GenerationSink {
 public:
  std::vector<int32_t> token_ids;
  std::string text;  // of the updates; all_text() has the end's too
  std::vector<TokenLogprobs> logprobs, prompt_logprobs;
  std::map<int, std::vector<int32_t>> tokens_of;  // by completion
  std::map<int, std::string> text_of;             // with the text of its end
  std::map<int, GenerationEnd> end_of;
  int updates = 0, ends = 0;
  GenerationEnd end;
  std::function<void()> on_end = [] {};

  std::string all_text() const { return text + end.text; }
  bool ended() const { return ends == 1; }

  void OnUpdate(GenerationUpdate update) override {
    EXPECT_EQ(ends, 0) << "an update after the end";
    EXPECT_FALSE(update.token_ids.empty()) << "an update without news";
    ++updates;
    token_ids.insert(token_ids.end(), update.token_ids.begin(), update.token_ids.end());
    text += update.text;
    EXPECT_EQ(end_of.count(update.index), 0u) << "an update after its completion's end";
    std::vector<int32_t>& tokens = tokens_of[update.index];
    tokens.insert(tokens.end(), update.token_ids.begin(), update.token_ids.end());
    text_of[update.index] += update.text;
    logprobs.insert(logprobs.end(), update.logprobs.begin(), update.logprobs.end());
    if (!update.prompt_logprobs.empty()) {
      EXPECT_EQ(updates, 1) << "prompt logprobs come with the first token";
      prompt_logprobs = std::move(update.prompt_logprobs);
    }
    EXPECT_EQ(update.usage.completion_tokens, static_cast<int>(token_ids.size()));
  }
  void OnCompletionEnd(GenerationEnd news) override {
    EXPECT_EQ(ends, 0) << "a completion ended after the end";
    EXPECT_TRUE(news.status.ok());
    TakeEnd(news);
  }
  void OnEnd(GenerationEnd news) override {
    TakeEnd(news);
    EXPECT_EQ(++ends, 1) << "ended twice";
    EXPECT_EQ(news.usage.completion_tokens, static_cast<int>(token_ids.size()));
    end = std::move(news);
    on_end();
  }

 private:
  void TakeEnd(const GenerationEnd& news) {
    EXPECT_EQ(end_of.count(news.index), 0u) << "a completion ended twice";
    text_of[news.index] += news.text;
    end_of[news.index] = news;
  }
};

// Answers every sample with `script(request)`; keeps what a real model would have in its KV pool, block by block, and
// fails the test where a span's blocks do not hold what is before its rows, of the same adapter.
class ScriptedModel {
 public:
  std::function<int32_t(const SampleRequest&)> script;

  StepResult Run(const Batch& batch) {
    int row = 0;
    std::map<SequenceId, std::vector<int32_t>> contexts;  // with all rows of the batch
    for (const Span& span : batch.spans) {
      EXPECT_EQ(span.first_row, row) << "rows are not packed";
      row += span.num_rows;
      const int end = span.first_position + span.num_rows;
      EXPECT_LE(end, static_cast<int>(span.blocks.size()) * block_size);
      std::vector<int32_t>& context = contexts[span.sequence];
      for (int position = 0; position < end; ++position) {
        Slot& slot = kv_[{span.blocks[position / block_size], position % block_size}];
        if (position >= span.first_position) {
          slot = {batch.token_ids[span.first_row + position - span.first_position], span.adapter};
          written_rows += 1;
        }
        EXPECT_EQ(slot.adapter, span.adapter) << "KV of another adapter";
        context.push_back(slot.token);
      }
    }
    EXPECT_EQ(row, batch.num_rows());
    EXPECT_EQ(batch.labels, std::vector<int32_t>(row, kIgnoredLabel));
    StepResult result;
    result.losses.resize(batch.spans.size());
    for (const SampleRequest& sample : batch.samples) {
      const auto span = std::find_if(batch.spans.begin(), batch.spans.end(),
                                     [&](const Span& s) { return s.sequence == sample.sequence; });
      const std::vector<int32_t>& context = contexts[sample.sequence];
      const int seen = span->first_position + sample.row - span->first_row + 1;
      context_[sample.sequence].assign(context.begin(), context.begin() + seen);
      // But for the last token, where that was in flight.
      const int known = static_cast<int>(sample.history.size());
      EXPECT_TRUE(known == seen || (known == seen - 1 && !sample.params.has_penalties())) << known << " of " << seen;
      EXPECT_TRUE(std::equal(sample.history.begin(), sample.history.end(), context.begin(), context.begin() + known));
      EXPECT_EQ(sample.index, seen - sample.num_prompt_tokens);
      result.sampled.push_back(script(sample));
      result.logprobs.push_back({.token = result.sampled.back(), .logprob = -0.5f});
    }
    // An embedding of one value: of token after token.
    for (const PoolRequest& pool : batch.pools) {
      for (int i = 0; i < pool.num_rows; ++i) pool.sum[0] += batch.token_ids[pool.first_row + i];
    }
    // The log probability says which row and which token it is of.
    for (const ScoreRequest& score : batch.scores) {
      result.scores.push_back({.token = score.token, .logprob = -static_cast<float>(batch.token_ids[score.row])});
    }
    return result;
  }
  // Of the row that is being sampled: what the KV pool holds up to it.
  const std::vector<int32_t>& context(SequenceId sequence) { return context_[sequence]; }

  int block_size = 0;
  int written_rows = 0;  // that went through the model

 private:
  struct Slot {
    int32_t token = -1;
    AdapterRef adapter;
  };
  std::map<std::pair<BlockId, int>, Slot> kv_;
  std::map<SequenceId, std::vector<int32_t>> context_;
};

}  // namespace tandem
