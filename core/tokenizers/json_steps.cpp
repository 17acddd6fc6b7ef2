#include "core/tokenizers/json_steps.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/json.h"
#include "core/tokenizers/normal_forms.h"
#include "core/tokenizers/regex.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

using nlohmann::json;

/// One step: an object with a type. `member` is its place in the file, for messages.
struct Step {
  JsonObject object;
  std::string member, type;

  Step(const json& value, const std::string& origin, const std::string& member_)
      : object(value, origin, member_ + "."), member(member_), type(object.text("type")) {}

  [[noreturn]] void refuse() const {
    throw InputError(fmt::format("{}: {} of type {} is not supported; docs/tokenizers.md lists what is",
                                 object.origin(), member, excerpt(type)));
  }
  /// The steps of a Sequence, which lists them under `key`.
  std::vector<Step> steps(const std::string& key) const {
    const json& list = object.at(key);
    if (!list.is_array()) object.fail(key, "a list");
    std::vector<Step> found;
    for (const json& value : list) found.emplace_back(value, object.origin(), member);
    return found;
  }
};

/// In Oniguruma, which reads these patterns elsewhere, \s is Unicode's White_Space; PCRE2's has one character more.
std::string for_pcre2(const std::string& pattern) {
  constexpr const char* kSpace = R"(\p{Z}\x{9}-\x{d}\x{85})";
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      if (next == 's') {
        out += in_class ? kSpace : fmt::format("[{}]", kSpace);
      } else if (next == 'S' && !in_class) {
        out += fmt::format("[^{}]", kSpace);
      } else {
        out += {c, next};
      }
      continue;
    }
    in_class = c == '[' || (in_class && c != ']');
    out += c;
  }
  return out;
}

/// A regular expression for exactly this text.
std::string quoted(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view(R"(\^$.[]|()?*+{}-#)").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

/// The member `pattern`: {"Regex": …} or {"String": …}.
std::string pattern_of(const Step& s) {
  const JsonObject pattern = s.object.object("pattern");
  return pattern.has("Regex") ? pattern.text("Regex") : quoted(pattern.text("String"));
}

SplitBehavior behavior_of(const Step& s, const std::optional<std::string>& fallback = {}) {
  const std::string name = s.object.text("behavior", fallback);
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  s.object.fail("behavior", "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

std::unique_ptr<PreTokenizer> split_step(const Step& s, const std::string& pattern, SplitBehavior behavior,
                                         bool invert = false) {
  return split_at(pattern, for_pcre2(pattern), behavior, invert, s.object.origin() + ": " + s.member);
}

PrependMark prepend_of(const Step& s) {
  if (!s.object.has("prepend_scheme"))
    return s.object.boolean("add_prefix_space", true) ? PrependMark::kAlways : PrependMark::kNever;
  const std::string name = s.object.text("prepend_scheme");
  if (name == "always") return PrependMark::kAlways;
  if (name == "first") return PrependMark::kFirst;
  if (name == "never") return PrependMark::kNever;
  s.object.fail("prepend_scheme", "always, first or never");
}

Normalizer normalizer_of(const Step& s) {
  const auto form = [](NormalForm f) { return [f](std::string_view text) { return normalized(text, f); }; };
  if (s.type == "NFC") return form(NormalForm::kNfc);
  if (s.type == "NFD") return form(NormalForm::kNfd);
  if (s.type == "NFKC") return form(NormalForm::kNfkc);
  if (s.type == "NFKD") return form(NormalForm::kNfkd);
  if (s.type == "Prepend") {
    return [prefix = s.object.text("prepend")](std::string_view text) {
      return text.empty() ? std::string() : prefix + std::string(text);
    };
  }
  if (s.type == "Strip") {
    return [left = s.object.boolean("strip_left", true), right = s.object.boolean("strip_right", true)](
               std::string_view text) { return stripped(text, left, right); };
  }
  if (s.type == "Replace") {
    const JsonObject pattern = s.object.object("pattern");
    const std::string content = s.object.text("content");
    if (pattern.has("String")) {
      const std::string from = pattern.text("String");
      if (from.empty()) pattern.fail("String", "text that is not empty");
      return [from, content](std::string_view text) { return replaced(text, from, content); };
    }
    const auto regex =
        std::make_shared<Regex>(for_pcre2(pattern.text("Regex")), s.object.origin() + ": " + s.member);
    return [regex, content](std::string_view text) { return regex->replaced(text, content); };
  }
  if (s.type == "Sequence") {
    std::vector<Normalizer> steps;
    for (const Step& step : s.steps("normalizers")) steps.push_back(normalizer_of(step));
    return [steps](std::string_view text) {
      std::string out(text);
      for (const Normalizer& step : steps) out = step(out);
      return out;
    };
  }
  s.refuse();
}

PreTokenizerStep pretokenizer_of(const Step& s) {
  if (s.type == "ByteLevel") {
    return {byte_level(s.object.boolean("add_prefix_space", true), s.object.boolean("use_regex", true)),
            true};
  }
  if (s.type == "Split")
    return {split_step(s, pattern_of(s), behavior_of(s), s.object.boolean("invert", false))};
  if (s.type == "Digits") {
    return {split_step(s, R"(\p{N})",
                       s.object.boolean("individual_digits", false) ? SplitBehavior::kIsolated
                                                                    : SplitBehavior::kContiguous)};
  }
  if (s.type == "Punctuation") return {split_step(s, R"([\p{P}!-/:-@\[-`{-~])", behavior_of(s, "Isolated"))};
  if (s.type == "Whitespace") {
    return {split_step(s, R"([\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}]+|[^\s\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}]+)",
                       SplitBehavior::kRemoved, true)};
  }
  if (s.type == "WhitespaceSplit") return {split_step(s, R"(\s)", SplitBehavior::kRemoved)};
  if (s.type == "Metaspace") {
    return {metaspace(s.object.text("replacement", "▁"), prepend_of(s), s.object.boolean("split", true))};
  }
  if (s.type == "Sequence") {
    std::vector<std::unique_ptr<PreTokenizer>> steps;
    bool bytes = false;
    for (const Step& step : s.steps("pretokenizers")) {
      PreTokenizerStep one = pretokenizer_of(step);
      steps.push_back(bytes ? on_letters(std::move(one.step)) : std::move(one.step));
      bytes = bytes || one.byte_level;
    }
    return {in_sequence(std::move(steps)), bytes};
  }
  s.refuse();
}

/// The byte that "<0xE2>" stands for; −1 for another token.
int byte_of(const std::string& token) {
  int byte = 0;
  char end = 0;
  const bool shaped = token.size() == 6 && token.starts_with("<0x") && token.ends_with('>');
  return shaped && std::sscanf(token.c_str(), "<0x%2x%c", reinterpret_cast<unsigned*>(&byte), &end) == 2
             ? byte
             : -1;
}

void add_decoder(const Step& s, DecoderStep& d, bool& fused) {
  const auto then = [&](std::function<std::string(std::string)> next) {
    d.text_of = [before = d.text_of, next](std::string token) { return next(before(std::move(token))); };
  };
  if (s.type == "Sequence") {
    for (const Step& step : s.steps("decoders")) add_decoder(step, d, fused);
  } else if (s.type == "ByteLevel") {  // tokens are bytes already
  } else if (s.type == "Fuse") {
    fused = true;
  } else if (s.type == "ByteFallback") {
    then([](std::string token) {
      const int byte = byte_of(token);
      return byte < 0 ? token : std::string(1, static_cast<char>(byte));
    });
  } else if (s.type == "Metaspace") {
    const std::string mark = s.object.text("replacement", "▁");
    then([mark](const std::string& token) { return replaced(token, mark, " "); });
    d.strips_first_space = prepend_of(s) != PrependMark::kNever;
  } else if (s.type == "Replace" && s.object.object("pattern").has("String")) {
    const std::string from = s.object.object("pattern").text("String"), to = s.object.text("content");
    if (from.empty()) s.object.fail("pattern", "text that is not empty");
    then([from, to](const std::string& token) { return replaced(token, from, to); });
  } else if (s.type == "Strip" && fused && s.object.text("content") == " " &&
             s.object.integer("start", 0, 99) <= 1 && s.object.integer("stop", 0, 99) == 0) {
    d.strips_first_space = s.object.integer("start", 0, 1) == 1;
  } else {
    s.refuse();
  }
}

SpecialAround around_of(const Step& s) {
  SpecialAround around;
  const auto id_of = [&](const std::string& key) {  // ["</s>", 2]
    const json& pair = s.object.at(key);
    if (!pair.is_array() || pair.size() != 2 || !pair[1].is_number_integer())
      s.object.fail(key, "[token, id]");
    return pair[1].get<int64_t>();
  };
  if (s.type == "ByteLevel") return {};
  if (s.type == "BertProcessing" || s.type == "RobertaProcessing") return {{id_of("cls")}, {id_of("sep")}};
  if (s.type == "Sequence") {
    for (const Step& one : s.steps("processors")) {
      const SpecialAround more = around_of(one);
      around.before.insert(around.before.end(), more.before.begin(), more.before.end());
      around.after.insert(around.after.end(), more.after.begin(), more.after.end());
    }
    return around;
  }
  if (s.type != "TemplateProcessing") s.refuse();
  const json& single = s.object.at("single");
  if (!single.is_array()) s.object.fail("single", "a list");
  bool behind = false;
  for (const json& part : single) {
    const JsonObject piece(part, s.object.origin(), "post_processor.single.");
    if (piece.has("Sequence")) {
      behind = true;
      continue;
    }
    const std::string name = piece.object("SpecialToken").text("id");
    const json& ids = s.object.object("special_tokens").object(name).at("ids");
    for (const json& id : ids) {
      if (!id.is_number_integer()) s.object.fail("special_tokens", "ids that are integers");
      (behind ? around.after : around.before).push_back(id.get<int64_t>());
    }
  }
  return around;
}

}  // namespace

Normalizer read_normalizer(const json& step, const std::string& origin) {
  return step.is_null() ? Normalizer() : normalizer_of(Step(step, origin, "normalizer"));
}

bool normalizes_words_apart(const json& step) {
  if (!step.is_object()) return true;
  const json steps = step.value("normalizers", json::array());
  const std::string type = step.value("type", "");
  return type != "Strip" && type != "Prepend" && std::ranges::all_of(steps, normalizes_words_apart);
}

PreTokenizerStep read_pretokenizer(const json& step, const std::string& origin) {
  return step.is_null() ? PreTokenizerStep() : pretokenizer_of(Step(step, origin, "pre_tokenizer"));
}

DecoderStep read_decoder(const json& step, const std::string& origin) {
  DecoderStep d{.text_of = [](std::string token) { return token; }};
  bool fused = false;
  if (!step.is_null()) add_decoder(Step(step, origin, "decoder"), d, fused);
  return d;
}

SpecialAround read_post_processor(const json& step, const std::string& origin) {
  return step.is_null() ? SpecialAround() : around_of(Step(step, origin, "post_processor"));
}

}  // namespace natrix
