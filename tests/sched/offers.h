// Short ways to write offers and to read plans, for the scheduler's tests.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "sched/policy.h"

namespace tandem {

inline absl::Time At(int seconds) {
  return absl::UnixEpoch() + absl::Seconds(seconds);
}

// Arrival follows the sequence's number unless told otherwise.
inline Offer Decode(SequenceId id) {
  return {.sequence = id, .kind = SpanKind::kDecode, .ready_rows = 1, .first_position = 9, .arrival = At(id)};
}
inline Offer Prefill(SequenceId id, int rows) {  // admitted before
  return {.sequence = id, .kind = SpanKind::kPrefill, .ready_rows = rows, .first_position = 9, .arrival = At(id)};
}
inline Offer Waiting(SequenceId id, int rows, int blocks) {
  return {
      .sequence = id, .kind = SpanKind::kPrefill, .ready_rows = rows, .blocks_to_reserve = blocks, .arrival = At(id)};
}
inline Offer WithPriority(Offer offer, int priority) {
  offer.priority = priority;
  return offer;
}
inline Offer WithArrival(Offer offer, int seconds) {
  offer.arrival = At(seconds);
  return offer;
}
inline Offer Train(SequenceId id, int rows, int blocks = 0) {
  return {.sequence = id, .kind = SpanKind::kTrainForward, .ready_rows = rows, .blocks_to_reserve = blocks};
}
inline BackwardOffer Units(SequenceId id, int count, int rows) {
  return {.job = id, .sequence = id, .units = std::vector<TokenWindow>(count, {0, rows})};
}

// "1:1 2:8 | 7:32 | 9x2 give 6": inference rows by sequence, training rows, backward units, who gives blocks back.
inline std::string ToString(const Plan& plan) {
  const auto append = [](std::string& text, SequenceId id, const char* sign, int count) {
    absl::StrAppend(&text, text.empty() || text.back() == ' ' ? "" : " ", id, sign, count);
  };
  std::string text;
  for (const SpanGrant& grant : plan.inference.spans) append(text, grant.sequence, ":", grant.num_rows);
  absl::StrAppend(&text, text.empty() ? "| " : " | ");
  for (const SpanGrant& grant : plan.training.spans) append(text, grant.sequence, ":", grant.num_rows);
  absl::StrAppend(&text, text.back() == ' ' ? "| " : " | ");
  for (const BackwardGrant& grant : plan.training.backward) append(text, grant.sequence, "x", grant.num_units);
  if (!plan.training.preempted.empty()) absl::StrAppend(&text, text.back() == ' ' ? "" : " ", "give");
  for (const SequenceId id : plan.training.preempted) absl::StrAppend(&text, " ", id);
  if (text.back() == ' ') text.pop_back();
  return text;
}

}  // namespace tandem
