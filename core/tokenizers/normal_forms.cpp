#include "core/tokenizers/normal_forms.h"

#include <algorithm>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/tokenizers/unicode_data.h"
#include "core/tokenizers/utf8.h"

namespace natrix {
namespace {

// Hangul syllables are composed by arithmetic: L + V + T.
constexpr uint32_t kSyllables = 0xAC00, kLeads = 0x1100, kVowels = 0x1161, kTrails = 0x11A7;
constexpr uint32_t kLeadCount = 19, kVowelCount = 21, kTrailCount = 28, kSyllableCount = 11172;

using Decompositions = std::unordered_map<uint32_t, std::span<const uint32_t>>;

/// Tables for lookup, made once from the arrays.
struct Tables {
  Decompositions canonical, compatible;
  std::unordered_map<uint32_t, uint32_t> classes;
  std::unordered_map<uint64_t, uint32_t> pairs;

  Tables()
      : canonical(decompositions(unicode::kCanonical, unicode::kCanonicalSize)),
        compatible(decompositions(unicode::kCompatible, unicode::kCompatibleSize)) {
    for (size_t i = 0; i < unicode::kClassesSize; i += 2)
      classes[unicode::kClasses[i]] = unicode::kClasses[i + 1];
    for (size_t i = 0; i < unicode::kPairsSize; i += 3)
      pairs[key(unicode::kPairs[i], unicode::kPairs[i + 1])] = unicode::kPairs[i + 2];
  }
  static Decompositions decompositions(const uint32_t* data, size_t size) {
    Decompositions found;
    for (size_t i = 0; i < size; i += 2 + data[i + 1]) found[data[i]] = {data + i + 2, data[i + 1]};
    return found;
  }
  static uint64_t key(uint32_t first, uint32_t second) { return uint64_t{first} << 32 | second; }
};

const Tables& tables() {
  static const Tables made;
  return made;
}

struct Mark {
  uint32_t code;
  uint32_t combining;  // combining class
  char byte = 0;       // of a byte that is not UTF-8, which has code kInvalidCharacter
};

uint32_t class_of(uint32_t code) {
  const auto found = tables().classes.find(code);
  return found == tables().classes.end() ? 0 : found->second;
}

void decompose(uint32_t code, bool compatible, std::vector<Mark>& out) {
  const auto add = [&](uint32_t c) { out.push_back({c, class_of(c)}); };
  if (kSyllables <= code && code < kSyllables + kSyllableCount) {
    const uint32_t index = code - kSyllables, trail = index % kTrailCount;
    add(kLeads + index / (kVowelCount * kTrailCount));
    add(kVowels + index / kTrailCount % kVowelCount);
    if (trail != 0) add(kTrails + trail);
    return;
  }
  for (const Decompositions* table : {compatible ? &tables().compatible : nullptr, &tables().canonical}) {
    if (table == nullptr) continue;
    if (const auto found = table->find(code); found != table->end()) {
      for (const uint32_t c : found->second) add(c);
      return;
    }
  }
  add(code);
}

/// Orders each run of marks by their combining class.
void reorder(std::vector<Mark>& marks) {
  for (auto first = marks.begin(); first != marks.end();) {
    if (first->combining == 0) {
      ++first;
      continue;
    }
    const auto last = std::find_if(first, marks.end(), [](const Mark& m) { return m.combining == 0; });
    std::stable_sort(first, last, [](const Mark& a, const Mark& b) { return a.combining < b.combining; });
    first = last;
  }
}

/// The character that two make together; 0 if there is none.
uint32_t composed(uint32_t first, uint32_t second) {
  if (kLeads <= first && first < kLeads + kLeadCount && kVowels <= second && second < kVowels + kVowelCount)
    return kSyllables + ((first - kLeads) * kVowelCount + (second - kVowels)) * kTrailCount;
  const bool without_trail =
      kSyllables <= first && first < kSyllables + kSyllableCount && (first - kSyllables) % kTrailCount == 0;
  if (without_trail && kTrails < second && second < kTrails + kTrailCount) return first + (second - kTrails);
  const auto found = tables().pairs.find(Tables::key(first, second));
  return found == tables().pairs.end() ? 0 : found->second;
}

void compose(std::vector<Mark>& marks) {
  size_t starter = marks.size(), kept = 0;
  uint32_t last_class = 0;  // of the mark kept last, after the starter
  for (const Mark mark : marks) {
    const bool adjacent = starter < marks.size() && starter + 1 == kept;
    const bool blocked = !adjacent && last_class >= mark.combining;
    if (starter < marks.size() && !blocked && mark.code != kInvalidCharacter) {
      if (const uint32_t both = composed(marks[starter].code, mark.code)) {
        marks[starter].code = both;
        continue;
      }
    }
    if (mark.combining == 0) starter = kept;
    last_class = mark.combining;
    marks[kept++] = mark;
  }
  marks.resize(kept);
}

}  // namespace

std::string normalized(std::string_view text, NormalForm form) {
  if (is_ascii(text)) return std::string(text);
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  std::vector<Mark> marks;
  marks.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    if (c.code == kInvalidCharacter) {
      marks.push_back({c.code, 0, text[i]});
    } else {
      decompose(c.code, compatible, marks);
    }
    i += static_cast<size_t>(c.length);
  }
  reorder(marks);
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) compose(marks);
  std::string out;
  out.reserve(text.size());
  for (const Mark& m : marks) m.code == kInvalidCharacter ? out.push_back(m.byte) : append_utf8(out, m.code);
  return out;
}

}  // namespace natrix
