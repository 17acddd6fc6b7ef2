#include "configs/yaml_leaves.h"

#include <fmt/format.h>
#include <set>
#include <sstream>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include "configs/config_error.h"

namespace natrix {
namespace {

constexpr size_t kMostBytes = size_t{1} << 20;
constexpr size_t kDeepest = 16;

/// Turns the parser's events into leaves.
class LeafReader final : public YAML::EventHandler {
 public:
  LeafReader(const std::string& origin, std::vector<Leaf>& leaves) : origin_(origin), leaves_(leaves) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) fail(mark, "a second document (---) begins; an experiment is one document");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { scalar(mark, anchor, "", false); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail(mark, "aliases (*name) are not supported");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    if (tag != "?" && tag != "!" && !tag.empty()) fail(mark, fmt::format("tags ({}) are not supported", tag));
    scalar(mark, anchor, text, tag == "!");  // the parser gives quoted scalars the tag "!"
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    refuse_anchor(mark, anchor);
    if (levels_.empty() || in_list_ || levels_.back().key.empty())
      fail(mark, "a list stands where key: value is expected");
    in_list_ = true;
    leaves_.push_back({.key = path(), .value = {.is_list = true}, .line = mark.line + 1});
  }
  void OnSequenceEnd() override {
    in_list_ = false;
    levels_.back().key.clear();
  }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    refuse_anchor(mark, anchor);
    if (in_list_) fail(mark, "a list holds plain values, not mappings");
    if (!levels_.empty() && levels_.back().key.empty()) fail(mark, "a key must be a plain word");
    if (levels_.size() == kDeepest) fail(mark, "mappings are nested too deeply");
    levels_.emplace_back();
  }
  void OnMapEnd() override {
    levels_.pop_back();
    if (!levels_.empty()) levels_.back().key.clear();
  }

 private:
  struct Level {
    std::string key;  // whose value comes next; empty: a key comes next
    std::set<std::string> seen;
  };

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& what) const {
    throw ConfigError(fmt::format("{}:{}: {}", origin_, mark.line + 1, what));
  }
  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) const {
    if (anchor != 0) fail(mark, "anchors (&name) are not supported");
  }

  void scalar(const YAML::Mark& mark, YAML::anchor_t anchor, const std::string& text, bool quoted) {
    refuse_anchor(mark, anchor);
    if (in_list_) {
      leaves_.back().value.texts.push_back(text);
    } else if (levels_.empty()) {
      fail(mark, "expected sections of key: value, such as model: {pattern: ME}");
    } else if (levels_.back().key.empty()) {
      start_key(mark, text);
    } else {
      leaves_.push_back({.key = path(), .value = {.texts = {text}, .quoted = quoted}, .line = mark.line + 1});
      levels_.back().key.clear();
    }
  }

  void start_key(const YAML::Mark& mark, const std::string& text) {
    if (text == "<<") fail(mark, "merge keys (<<) are not supported; use extends: FILE");
    if (text.empty() || text.find('.') != std::string::npos)
      fail(mark, fmt::format("\"{}\" is not a key", text));
    levels_.back().key = text;
    if (!levels_.back().seen.insert(text).second) fail(mark, fmt::format("{} is given twice", path()));
  }

  std::string path() const {
    std::string p;
    for (const Level& l : levels_) p += (p.empty() ? "" : ".") + l.key;
    return p;
  }

  const std::string& origin_;
  std::vector<Leaf>& leaves_;
  std::vector<Level> levels_;
  bool in_list_ = false;
  int documents_ = 0;
};

/// What the parser lets pass or answers with riddles.
void check_bytes(std::string_view text, const std::string& origin) {
  if (text.size() > kMostBytes) {
    throw ConfigError(fmt::format("{}: {} bytes; a configuration has at most {}. Is this the right file?",
                                  origin, text.size(), kMostBytes));
  }
  int line = 1;
  bool indent = true;
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\t' && indent)
      throw ConfigError(fmt::format("{}:{}: a tab indents this line; YAML wants spaces", origin, line));
    if (byte < 0x20 && c != '\n' && c != '\r' && c != '\t') {
      throw ConfigError(
          fmt::format("{}:{}: byte 0x{:02x} is not text. Is this the right file?", origin, line, byte));
    }
    indent = c == '\n' || (indent && (c == ' ' || c == '\t'));
    line += c == '\n';
  }
}

}  // namespace

std::vector<Leaf> read_yaml_leaves(std::string_view text, const std::string& origin) {
  check_bytes(text, origin);
  std::vector<Leaf> leaves;
  LeafReader reader(origin, leaves);
  std::istringstream in{std::string(text)};
  try {
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(reader)) {
    }
  } catch (const YAML::Exception& e) {
    throw ConfigError(fmt::format("{}:{}: not valid YAML: {}", origin, e.mark.line + 1, e.msg));
  }
  return leaves;
}

Value read_yaml_value(std::string_view text, const std::string& origin) {
  const std::vector<Leaf> leaves = read_yaml_leaves("value: " + std::string(text), origin);
  if (leaves.size() != 1 || leaves[0].key != "value")
    throw ConfigError(fmt::format("{}: {} is not a value", origin, text));
  return leaves[0].value;
}

}  // namespace natrix
