#include "configs/schema/suggest.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>

namespace natrix {
namespace {

std::string_view section_of(std::string_view key) {
  const size_t dot = key.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : key.substr(0, dot);
}

std::string_view name_of(std::string_view key) {
  return key.substr(key.rfind('.') + 1);
}

/// 3.0 → 3 and 1e3 → 1000; as it is otherwise.
std::string as_integer(const std::string& text) {
  double x = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), x);
  const bool whole =
      error == std::errc() && end == text.data() + text.size() && std::fabs(x) < 1e15 && x == std::floor(x);
  return whole ? std::to_string(static_cast<int64_t>(x)) : text;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return result;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// 1_000 and 1,000 → 1000; as it is otherwise: 1,5 is not 15.
std::string without_gaps(const std::string& text) {
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool gap = (text.size() - i) % 4 == 0 && i > 0;
    if (gap ? text[i] != '_' && text[i] != ',' : !is_digit(text[i])) return text;
    if (!gap) digits += text[i];
  }
  return digits;
}

/// What yes, no or nothing is called by this field, in the order to try; empty for any other text.
std::vector<std::string> words_meant(const std::string& text, const std::vector<std::string>& words) {
  const auto is_one_of = [&](std::initializer_list<const char*> list) {
    return std::find(list.begin(), list.end(), text) != list.end();
  };
  const std::vector<std::string> boolean = {"true", "false"}, automatic = {"auto", "never"};
  const bool is_switch = words == boolean || words == automatic;
  if (is_switch && is_one_of({"true", "yes", "on", "1"})) return {words[0]};
  if (is_switch && is_one_of({"false", "no", "off", "0"})) return {words[1]};
  if (is_switch) return {};
  if (is_one_of({"false", "no", "off", "0"})) return {"none"};
  if (is_one_of({"none", "null", "~", "default"})) return {"none", "auto"};
  return {};
}

/// Other ways to write what the text seems to say, the likeliest first.
std::vector<std::string> respellings(const std::string& text, const Field& field) {
  std::vector<std::string> all = {text, lower(text), without_gaps(text), as_integer(text)};
  if (!text.empty() && is_digit(text.back())) all.push_back(text + "s");  // of seconds
  for (const std::string& word : words_meant(lower(text), field.words)) all.push_back(word);
  return all;
}

/// The most mistakes by which one word is taken for the other; -1: they are two words. Of short words a
/// letter's change makes another word: cp and ep, cpu and gpu, lr and rl by a swap only.
int most_mistakes(std::string_view word, std::string_view candidate) {
  const size_t shorter = std::min(word.size(), candidate.size());
  if (word.size() == candidate.size()) {
    for (size_t i = 0; i < shorter; ++i) {
      if (word[i] != candidate[i] && is_digit(word[i]) && is_digit(candidate[i])) return -1;  // h200, h100
    }
    std::string a(word), b(candidate);
    std::sort(a.begin(), a.end());
    std::sort(b.begin(), b.end());
    if (shorter <= 3) return a == b ? 1 : 0;
  }
  return shorter <= 2 ? 0 : std::clamp(static_cast<int>(shorter / 3), 1, 3);
}

}  // namespace

int edit_distance(std::string_view a, std::string_view b) {
  // Three rows of the table of prefixes: optimal string alignment.
  std::vector<int> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) above[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& words) {
  constexpr size_t kLongest = 64;  // beyond it nothing is near, and the table would be large
  if (word.empty() || word.size() > kLongest) return "";
  const std::string written = lower(word);
  std::string best;
  int least = std::numeric_limits<int>::max();
  for (const std::string& candidate : words) {
    const int distance = edit_distance(written, candidate);
    if (distance < least && distance <= most_mistakes(written, candidate)) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

std::string nearest_key(const std::string& key, const std::vector<std::string>& known) {
  const std::string_view section = section_of(key);
  std::vector<std::string> neighbours;
  for (const std::string& k : known) {
    if (section_of(k) == section) neighbours.emplace_back(name_of(k));
  }
  const std::string near = nearest_word(name_of(key), neighbours);
  if (!near.empty()) return section.empty() ? near : std::string(section) + "." + near;

  // Of the keys with the right name, the one whose section is nearest: "optimiser.lr", "chekpoint.every".
  std::vector<std::string> namesakes;
  std::copy_if(known.begin(), known.end(), std::back_inserter(namesakes),
               [&](const std::string& k) { return name_of(k) == name_of(key); });
  const auto distance = [&](const std::string& k) {
    return edit_distance(section.substr(0, 64), section_of(k));
  };
  const auto best = std::min_element(namesakes.begin(), namesakes.end(),
                                     [&](const auto& a, const auto& b) { return distance(a) < distance(b); });
  if (best != namesakes.end()) return *best;
  if (section.empty()) return nearest_word(key, known);

  const auto near_each_other = [](std::string_view a, std::string_view b) {
    return !nearest_word(a, {std::string(b)}).empty();
  };
  std::vector<std::string> both_misspelled;
  std::copy_if(known.begin(), known.end(), std::back_inserter(both_misspelled), [&](const std::string& k) {
    return near_each_other(section, section_of(k)) && near_each_other(name_of(key), name_of(k));
  });
  return nearest_word(key, both_misspelled);
}

std::string accepted_spelling(const Field& field, const Value& value) {
  if (field.is_path || value.is_list || value.texts.size() != 1 || value.texts[0].empty()) return "";
  for (const std::string& text : respellings(value.texts[0], field)) {
    if (field.read({.texts = {text}})) return text;
  }
  return nearest_word(value.texts[0], field.words);
}

}  // namespace natrix
