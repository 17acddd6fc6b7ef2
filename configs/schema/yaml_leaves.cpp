#include "configs/schema/yaml_leaves.h"

#include <algorithm>
#include <fmt/format.h>
#include <sstream>
#include <unordered_map>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "configs/schema/config_error.h"
#include "configs/schema/source_text.h"

namespace natrix {
namespace {

constexpr size_t kDeepest = 16;

/// Turns the parser's events into leaves.
class LeafReader final : public YAML::EventHandler {
 public:
  LeafReader(std::string_view text, const std::string& origin, std::string_view needs,
             std::vector<Leaf>& leaves)
      : text_(text),
        origin_(origin),
        no_keys_(fmt::format("there are no keys; {}", needs)),
        leaves_(leaves) {}

  const std::string& no_keys() const { return no_keys_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) fail(mark, "a second document begins; a configuration is one document");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    if (levels_.empty()) fail(mark, no_keys_);
    // YAML's null must not become a directory of data.
    const char* tilde = text_from(mark).starts_with('~')
                            ? "; ~ alone is YAML's null: write ~/ or \"~\" for the home directory"
                            : "";
    if (in_list_) fail(mark, fmt::format("an item of the list is empty{}", tilde));
    if (!levels_.back().has_key) fail(mark, "a key is empty");
    fail_at(levels_.back().line,
            fmt::format("{}: has no value; leave the key out for its default{}", path(), tilde));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail(mark, "aliases (*name) are not supported; put a text that begins with * in quotes");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    refuse_decoration(mark, tag, anchor);
    const bool quoted = tag == "!";  // what the parser gives quoted scalars
    quoted ? check_quotes(mark) : check_on_one_line(mark, text);
    scalar(mark, text, quoted);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    refuse_decoration(mark, tag, anchor);
    if (levels_.empty() || in_list_ || !levels_.back().has_key)
      fail(mark, in_item_ ? "a list stands inside of an item of a list"
                          : "a list stands where key: value is expected");
    in_list_ = true;
    leaves_.push_back({.key = path(), .value = {.is_list = true}, .line = levels_.back().line});
  }
  void OnSequenceEnd() override {
    in_list_ = false;
    levels_.back().has_key = false;
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    refuse_decoration(mark, tag, anchor);
    if (in_list_) return start_item(mark);
    if (!levels_.empty() && !levels_.back().has_key) fail(mark, "a key must be a plain word");
    if (levels_.size() == kDeepest) fail(mark, "mappings are nested too deeply");
    levels_.push_back({.line = mark.line + 1});
  }
  void OnMapEnd() override {
    if (in_item_) return end_item();
    const bool empty = levels_.back().seen.empty();
    const int line = levels_.back().line;
    levels_.pop_back();
    if (empty) fail_at(line, levels_.empty() ? no_keys_ : path() + ": has no keys; leave it out");
    if (!levels_.empty()) levels_.back().has_key = false;
  }

  [[noreturn]] void fail(const YAML::Mark& mark, std::string_view what) const {
    fail_at(mark.line + 1, what);
  }

 private:
  struct Level {
    std::string key;
    bool has_key = false;                       // its value comes next; otherwise a key does
    int line = 0;                               // of the key, or, before there is one, of the mapping
    std::unordered_map<std::string, int> seen;  // keys, and their lines
  };

  [[noreturn]] void fail_at(int line, std::string_view what) const {
    throw ConfigError(fmt::format("{}:{}: {}", origin_, line, what));
  }

  void refuse_decoration(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) const {
    if (anchor != 0) fail(mark, "anchors (&name) are not supported; put a text that begins with & in quotes");
    if (tag != "?" && tag != "!" && !tag.empty())
      fail(mark, "tags (!name) are not supported; put a text that begins with ! in quotes");
  }

  std::string_view text_from(const YAML::Mark& mark) const {  // marks count bytes
    return text_.substr(std::min(static_cast<size_t>(std::max(mark.pos, 0)), text_.size()));
  }

  /// The parser joins lines into one text, which swallows the key of a line whose colon was forgotten.
  void check_on_one_line(const YAML::Mark& mark, const std::string& text) const {
    if (text_from(mark).substr(0, text.size()) == text) return;
    fail(mark,
         fmt::format("{}: goes on over several lines; expected \"key: value\" on one (is a colon missing, "
                     "or the space after it?)",
                     shortened(text)));
  }

  /// The parser closes a forgotten quote at the end of the file, which swallows all keys in between.
  void check_quotes(const YAML::Mark& mark) const {
    const std::string_view rest = text_from(mark);
    const char quote = rest.empty() ? '\0' : rest[0];
    if (quote != '"' && quote != '\'')
      fail(mark, "texts over several lines (| and >) and tags (!) are not supported");
    for (size_t i = 1; i < rest.size() && rest[i] != '\n'; ++i) {
      const bool escape = quote == '"' ? rest[i] == '\\' : rest.substr(i, 2) == "''";
      if (escape) {
        ++i;
      } else if (rest[i] == quote) {
        return;
      }
    }
    fail(mark, fmt::format("the quote {} that opens here is not closed on this line", quote));
  }

  void scalar(const YAML::Mark& mark, const std::string& text, bool quoted) {
    if (const UnfitText unfit = find_unfit(text); !unfit.why.empty()) fail(mark, "in quotes, " + unfit.why);
    if (in_item_) {
      item_scalar(mark, text);
    } else if (in_list_) {
      leaves_.back().value.texts.push_back(text);
    } else if (levels_.empty()) {
      fail(mark,
           fmt::format("found {}, expected sections of key: value, such as model: {{pattern: ME}} (with a "
                       "space after the colon)",
                       shortened(text)));
    } else if (!levels_.back().has_key) {
      start_key(mark, text);
    } else {
      leaves_.push_back(
          {.key = path(), .value = {.texts = {text}, .quoted = quoted}, .line = levels_.back().line});
      levels_.back().has_key = false;
    }
  }

  /// A mapping as an item of a list, such as {path: a.txt, weight: 0.7}.
  void start_item(const YAML::Mark& mark) {
    if (in_item_) fail(mark, "a mapping stands inside of an item of a list");
    in_item_ = true;
    Value& list = leaves_.back().value;
    list.mappings[list.texts.size()];
    list.texts.emplace_back();
  }

  void item_scalar(const YAML::Mark& mark, const std::string& text) {
    Value& list = leaves_.back().value;
    Value::Mapping& item = list.mappings.rbegin()->second;
    if (item_has_key_) {
      item.back().second = text;
      if (item.back().first == "path") list.texts.back() = text;
    } else {
      const bool repeated =
          std::any_of(item.begin(), item.end(), [&](const auto& e) { return e.first == text; });
      if (repeated)
        fail(mark, fmt::format("{}: {} is repeated within an item", shortened(path()), shortened(text)));
      item.emplace_back(text, "");
    }
    item_has_key_ = !item_has_key_;
  }

  void end_item() { in_item_ = false; }

  void start_key(const YAML::Mark& mark, const std::string& text) {
    if (text == "<<") fail(mark, "merge keys (<<) are not supported; use extends: FILE");
    if (text.empty()) fail(mark, "a key is empty");
    if (text.find('.') != std::string::npos)
      fail(mark,
           fmt::format("{} is not a key; in a file, keys are nested, as in model: {{mamba: {{d_state: 16}}}}",
                       shortened(text)));
    Level& level = levels_.back();
    level.key = text;
    level.has_key = true;
    level.line = mark.line + 1;
    const auto [earlier, fresh] = level.seen.emplace(text, level.line);
    if (!fresh)
      fail(mark, fmt::format("{}: repeated; line {} sets it already", shortened(path()), earlier->second));
  }

  std::string path() const {
    std::string p;
    for (const Level& l : levels_) p += (p.empty() ? "" : ".") + l.key;
    return p;
  }

  std::string_view text_;
  const std::string& origin_;
  const std::string no_keys_;
  std::vector<Leaf>& leaves_;
  std::vector<Level> levels_;
  bool in_list_ = false;
  bool in_item_ = false, item_has_key_ = false;  // in a mapping that is an item of the list
  int documents_ = 0;
};

/// Line by line, so that the ends of lines (\n and \r\n) are not taken for control characters.
void check_characters(std::string_view text, const std::string& origin) {
  int line = 1;
  for (size_t begin = 0; begin < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view one = text.substr(begin, end - begin);
    if (one.ends_with('\r')) one.remove_suffix(1);
    if (const UnfitText unfit = find_unfit(one); !unfit.why.empty())
      throw ConfigError(fmt::format("{}:{}: byte {} of the line: {}", origin, line, unfit.at + 1, unfit.why));
    begin = end + 1;
  }
}

/// The parser's own messages do not say what to do about a text that begins like syntax. Its marks stand on
/// that sign or just behind it.
std::string quotes_hint(std::string_view text, const YAML::Mark& mark) {
  const auto at = static_cast<size_t>(std::max(mark.pos, 0));
  for (const size_t i : {at, at - std::min<size_t>(at, 1)}) {
    if (i < text.size() && std::string_view("*&!@`%-").find(text[i]) != std::string_view::npos)
      return fmt::format("; put a text that begins with {} in quotes", text[i]);
  }
  return "";
}

}  // namespace

std::vector<Leaf> read_yaml_leaves(std::string_view text, const std::string& origin, std::string_view needs) {
  if (text.size() > kMostSourceBytes)
    throw ConfigError(origin +
                      ": is larger than 1 MiB; a configuration is a few kilobytes. Is this the right file?");
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // what some editors put first
  check_characters(text, origin);
  std::vector<Leaf> leaves;
  LeafReader reader(text, origin, needs, leaves);
  std::istringstream in{std::string(text)};
  try {
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(reader)) {
    }
  } catch (const YAML::Exception& e) {
    reader.fail(e.mark, fmt::format("not valid YAML: {}{}", e.msg, quotes_hint(text, e.mark)));
  }
  if (leaves.empty()) throw ConfigError(fmt::format("{}:1: {}", origin, reader.no_keys()));
  return leaves;
}

Value read_yaml_value(std::string_view text, const std::string& origin) {
  const std::vector<Leaf> leaves = read_yaml_leaves("value: " + std::string(text), origin, "");
  if (leaves.size() != 1 || leaves[0].key != "value")
    throw ConfigError(fmt::format("{}: {} is not a value", origin, text));
  return leaves[0].value;
}

}  // namespace natrix
