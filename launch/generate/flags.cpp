#include "launch/generate/flags.h"

#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <limits>

#include "core/files/json.h"

namespace natrix {
namespace {

constexpr double kMostBias = 1e6;  // beyond any logit, and far from where sums lose it

/// Reads a number that begins at *text and moves *text behind it. False if there is none.
template <class T>
bool take_number(std::string_view* text, T* to) {
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *to);
  if (error != std::errc()) return false;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return true;
}

void refuse_together(bool both, const char* message) {
  if (both) throw InputError(message);
}

}  // namespace

void check_generate_flags(const GenerateFlags& f, int ranks) {
  const bool tokens = !f.tokens.empty(), prompts = !f.prompts.empty();
  const int sources = !f.prompt.empty() + !f.prompt_file.empty() + prompts + tokens + f.chat;
  refuse_together(sources > 1, "give one of --prompt, --prompt-file, --prompts, --tokens and --chat");
  refuse_together(tokens == f.out.empty(), "--tokens IN.safetensors and --out OUT.safetensors go together");
  refuse_together(
      f.prompt_file == "-" && ranks > 1,
      "--prompt-file -: standard input reaches one rank only; name a file that all of them can read");
  refuse_together((f.chat || prompts) && ranks > 1,
                  "--chat and --prompts run in one process; start natrix without mpirun");
  refuse_together(!f.chat && !f.system.empty(), "--system begins a conversation; give --chat, too");
  refuse_together(!f.chat && !f.chat_template.empty(),
                  "--chat-template is for conversations; give --chat, too");
  refuse_together(tokens && !f.stop.empty(), "--stop needs text, and --tokens has none; give --stop-id");
  refuse_together((tokens || f.chat) && f.wants_logprobs(),
                  "--logprobs is for --prompt, --prompt-file and --prompts; leave it out");
  refuse_together(prompts && !f.state_out.empty(), "--prompts has many states; leave --state-out out");
}

LogitBias parse_logit_bias(const std::string& text, int64_t vocab_size) {
  LogitBias bias{};
  std::string_view rest = text;
  bool read = take_number(&rest, &bias.token) && !rest.empty() && (rest[0] == '+' || rest[0] == '-');
  if (read) {
    const double sign = rest[0] == '-' ? -1 : 1;
    rest.remove_prefix(1);
    read = !rest.empty() && rest[0] != '-' && take_number(&rest, &bias.bias) && rest.empty();
    bias.bias *= sign;
  }
  const bool bans = bias.bias == -std::numeric_limits<double>::infinity();
  if (!read || !(bans || std::abs(bias.bias) <= kMostBias)) {
    throw InputError(fmt::format(
        "--logit-bias {}: expected TOKEN+BIAS or TOKEN-BIAS with a bias of at most {}, such as 15+1.5; "
        "TOKEN-inf bans the token",
        excerpt(text), kMostBias));
  }
  if (bias.token < 0 || bias.token >= vocab_size) {
    throw InputError(
        fmt::format("--logit-bias {}: token {} is outside of the model's vocabulary of {} entries",
                    excerpt(text), bias.token, vocab_size));
  }
  return bias;
}

}  // namespace natrix
