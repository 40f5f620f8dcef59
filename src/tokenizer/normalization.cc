#include "tokenizer/normalization.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <vector>

#include "tokenizer/utf8.h"

namespace tandem {
namespace {

struct Range {
  char32_t first, last;
};
// Each character of the run maps to itself plus `difference`.
struct Run {
  char32_t first, last;
  int32_t difference;
};
struct ClassRange {
  char32_t first, last;
  int value;
};
struct Composition {
  char32_t first, second, composite;
};

// The lists are: character, number of characters it becomes, these.
#include "tokenizer/normalization_tables.inc"

// Hangul syllables are arithmetic (Unicode 3.12).
constexpr char32_t kSyllables = 0xAC00, kLeading = 0x1100, kVowels = 0x1161, kTrailing = 0x11A7;
constexpr char32_t kNumLeading = 19, kNumVowels = 21, kNumTrailing = 28;
constexpr char32_t kNumSyllables = kNumLeading * kNumVowels * kNumTrailing;

// The range that `c` lies in; null where there is none.
template <typename T, size_t n>
const T* FindRange(const T (&ranges)[n], char32_t c) {
  const T* above = std::upper_bound(ranges, ranges + n, c, [](char32_t x, const T& range) { return x < range.first; });
  return above != ranges && c <= (above - 1)->last ? above - 1 : nullptr;
}

int CombiningClass(char32_t c) {
  if (c < 0x300) return 0;
  const ClassRange* range = FindRange(kCombiningClasses, c);
  return range == nullptr ? 0 : range->value;
}

// Where each character's entry begins in a list of decompositions, sorted by character.
template <size_t n>
std::vector<const char32_t*> IndexOf(const char32_t (&list)[n]) {
  std::vector<const char32_t*> index;
  for (size_t at = 0; at < n; at += 2 + list[at + 1]) index.push_back(list + at);
  return index;
}

bool AppendFrom(const std::vector<const char32_t*>& index, char32_t c, std::u32string* out) {
  const auto found =
      std::lower_bound(index.begin(), index.end(), c, [](const char32_t* entry, char32_t x) { return entry[0] < x; });
  if (found == index.end() || (*found)[0] != c) return false;
  out->append(*found + 2, (*found)[1]);
  return true;
}

void AppendDecomposition(char32_t c, bool compatible, std::u32string* out) {
  static const std::vector<const char32_t*> kCanonical = IndexOf(kCanonicalLists);
  static const std::vector<const char32_t*> kCompatible = IndexOf(kCompatibleLists);
  if (c < 0xA0) {
    out->push_back(c);
    return;
  }
  if (c >= kSyllables && c < kSyllables + kNumSyllables) {
    const char32_t index = c - kSyllables;
    out->push_back(kLeading + index / (kNumVowels * kNumTrailing));
    out->push_back(kVowels + index / kNumTrailing % kNumVowels);
    if (index % kNumTrailing != 0) out->push_back(kTrailing + index % kNumTrailing);
    return;
  }
  // The compatible tables hold only what differs from the canonical ones.
  const Run* run = compatible ? FindRange(kCompatibleRuns, c) : nullptr;
  if (run == nullptr && compatible && AppendFrom(kCompatible, c, out)) return;
  if (run == nullptr) run = FindRange(kCanonicalRuns, c);
  if (run == nullptr && AppendFrom(kCanonical, c, out)) return;
  out->push_back(run == nullptr ? c : c + run->difference);
}

// Marks between two starters are sorted by class, stably.
void Reorder(std::u32string* text) {
  for (size_t begin = 0; begin < text->size();) {
    if (CombiningClass((*text)[begin]) == 0) {
      ++begin;
      continue;
    }
    size_t end = begin + 1;
    while (end < text->size() && CombiningClass((*text)[end]) != 0) ++end;
    std::stable_sort(text->begin() + begin, text->begin() + end,
                     [](char32_t a, char32_t b) { return CombiningClass(a) < CombiningClass(b); });
    begin = end;
  }
}

// The character that the two make; 0 where they make none.
char32_t Compose(char32_t first, char32_t second) {
  if (first - kLeading < kNumLeading && second - kVowels < kNumVowels) {
    return kSyllables + ((first - kLeading) * kNumVowels + (second - kVowels)) * kNumTrailing;
  }
  const bool is_open_syllable = first - kSyllables < kNumSyllables && (first - kSyllables) % kNumTrailing == 0;
  if (is_open_syllable && second > kTrailing && second < kTrailing + kNumTrailing) return first + (second - kTrailing);
  const auto found = std::lower_bound(std::begin(kCompositions), std::end(kCompositions), Composition{first, second, 0},
                                      [](const Composition& a, const Composition& b) {
                                        return a.first != b.first ? a.first < b.first : a.second < b.second;
                                      });
  const bool hit = found != std::end(kCompositions) && found->first == first && found->second == second;
  return hit ? found->composite : 0;
}

void ComposeAll(std::u32string* text) {
  constexpr size_t kNone = std::u32string::npos;
  size_t starter = kNone, kept = 0;
  int last_class = 0;  // of the character before, if it was kept behind the starter
  for (size_t i = 0; i < text->size(); ++i) {
    const char32_t c = (*text)[i];
    const int combining_class = CombiningClass(c);
    const bool blocked = kept != 0 && starter != kNone && starter + 1 != kept && last_class >= combining_class;
    const char32_t composite = starter == kNone || blocked ? 0 : Compose((*text)[starter], c);
    if (composite != 0) {
      (*text)[starter] = composite;
      continue;
    }
    if (combining_class == 0) starter = kept;
    last_class = combining_class;
    (*text)[kept++] = c;
  }
  text->resize(kept);
}

// Is there any character that the form could change or reorder?
template <size_t n>
bool HasSuspect(const Range (&suspects)[n], std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    if (c.code_point >= suspects[0].first && FindRange(suspects, c.code_point) != nullptr) return true;
    at += std::max(1, c.num_bytes);
  }
  return false;
}

}  // namespace

std::string NormalizeUnicode(std::string_view text, NormalizationForm form) {
  const bool compatible = form == NormalizationForm::kNfkc || form == NormalizationForm::kNfkd;
  const bool composes = form == NormalizationForm::kNfc || form == NormalizationForm::kNfkc;
  if (composes && !(compatible ? HasSuspect(kNFKCSuspects, text) : HasSuspect(kNFCSuspects, text))) {
    return std::string(text);
  }
  std::u32string decomposed;
  decomposed.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    AppendDecomposition(c.code_point, compatible, &decomposed);
    at += std::max(1, c.num_bytes);
  }
  Reorder(&decomposed);
  if (composes) ComposeAll(&decomposed);
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : decomposed) AppendUtf8(c, &out);
  return out;
}

}  // namespace tandem
