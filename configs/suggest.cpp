#include "configs/suggest.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>

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

/// Other ways to write what the text seems to say, the likeliest first.
std::vector<std::string> respellings(const std::string& text) {
  std::string lower = text, digits;
  for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  std::copy_if(text.begin(), text.end(), std::back_inserter(digits),
               [](char c) { return c != '_' && c != ','; });
  std::vector<std::string> all = {text, lower, digits, as_integer(text), text + "s"};
  const auto is_one_of = [&](std::initializer_list<const char*> words) {
    return std::find(words.begin(), words.end(), lower) != words.end();
  };
  if (is_one_of({"true", "yes", "on", "1"})) all.insert(all.end(), {"true", "auto"});
  if (is_one_of({"false", "no", "off", "0"})) all.insert(all.end(), {"false", "never", "none"});
  if (is_one_of({"none", "null", "~", "default"})) all.insert(all.end(), {"none", "auto"});
  return all;
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
  if (word.size() > kLongest) return "";
  std::string best;
  int least = std::max(1, static_cast<int>(word.size()) / 3) + 1;
  for (const std::string& candidate : words) {
    const int distance = edit_distance(word, candidate);
    if (distance < least) {
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
  return best != namesakes.end() ? *best : nearest_word(key, known);
}

std::string accepted_spelling(const Field& field, const Value& value) {
  if (value.is_list || value.texts.size() != 1) return "";
  for (const std::string& text : respellings(value.texts[0])) {
    if (field.read({.texts = {text}})) return text;
  }
  return nearest_word(value.texts[0], field.words);
}

}  // namespace natrix
