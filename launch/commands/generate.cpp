// natrix generate: continues a text, given tokens, a file of prompts or a conversation, and saves and loads
// the state of a prefix.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "core/files/atomic_file.h"
#include "distributed/mpi_communicator.h"
#include "launch/commands/commands.h"
#include "launch/commands/number_flags.h"
#include "launch/generate/generate_run.h"

namespace natrix {
namespace {

constexpr int64_t kAnswerTokens = 2048;  // of each answer with --chat, unless -n is given

/// Held until both are written.
std::vector<std::unique_ptr<const AtomicFile>> check_outputs(const GenerateFlags& f) {
  std::vector<std::unique_ptr<const AtomicFile>> held;
  if (!f.out.empty()) held.push_back(check_output("--out", f.out));
  if (!f.state_out.empty()) held.push_back(check_output("--state-out", f.state_out));
  if (held.size() == 2 && is_same_file(resolve_output(f.out), resolve_output(f.state_out))) {
    throw InputError(
        fmt::format("--out {} and --state-out {} are the same file; give them two", f.out, f.state_out));
  }
  return held;
}

/// What --json calls the result.
const char* result_key(const GenerateFlags& f) {
  if (f.chat) return "turns";
  if (!f.prompts.empty()) return "results";
  return f.tokens.empty() ? "text" : "out";
}

int generate(const GenerateFlags& f, const Program& program) {
  GenerateRun run(f, program);
  if (f.chat) return generate_chat(run);
  if (!f.prompts.empty()) return generate_prompts(run);
  return f.tokens.empty() ? generate_text(run) : generate_tokens(run);
}

/// An option that may be given several times, one value each time.
void add_repeated(CLI::App& command, const std::string& names, std::vector<std::string>& to,
                  const std::string& help) {
  command.add_option(names, to, help + "; may be given several times")
      ->allow_extra_args(false)
      ->type_name("TEXT");
}

void add_sampler_flags(CLI::App& c, GenerateFlags& f) {
  SamplerConfig& s = f.sampler;
  add_number_flag(c, "--temp,--temperature", s.temperature, 0, 100, "0 is greedy");
  add_integer_flag(c, "--top-k,--top_k", s.top_k, 0, int64_t{1} << 40, "0: off");
  add_number_flag(c, "--top-p,--top_p", s.top_p, 0, 1, "1: off");
  add_number_flag(c, "--min-p,--min_p", s.min_p, 0, 1, "0: off");
  add_number_flag(c, "--repeat-penalty,--repetition-penalty,--repetition_penalty", s.repeat_penalty, 0.01,
                  100, "1: off");
  add_integer_flag(c, "--repeat-last-n", s.repeat_last_n, 0, int64_t{1} << 31,
                   "Tokens that the penalty looks back on");
  add_repeated(
      c, "-l,--logit-bias", f.logit_bias,
      "TOKEN+BIAS or TOKEN-BIAS: added to the logit of a token id before all else; TOKEN-inf bans it");
  add_seed_flag(c, "-s,--seed", s.seed, f.seed_drawn);
}

void add_ending_flags(CLI::App& c, GenerateFlags& f) {
  add_repeated(c, "-r,--stop,--stop-strings,--reverse-prompt", f.stop,
               "Text that ends the generation and is not printed");
  add_integers_flag(c, "--stop-id", f.stop_ids, 0, int64_t{1} << 40,
                    "Token id that ends it, besides the model's own");
  c.add_flag("--ignore-eos", f.ignore_eos, "Go on after the end of a document");
}

void add_chat_flags(CLI::App& c, GenerateFlags& f) {
  c.add_flag("--chat,--conversation", f.chat,
             "Converse: each line of standard input is a turn; /reset and /exit are commands");
  c.add_option("--system,--system-prompt", f.system, "With --chat: the system message");
  c.add_option("--chat-template", f.chat_template,
               "With --chat: how messages become text; chatml: <|im_start|>ROLE … <|im_end|>");
}

}  // namespace

void add_generate(CLI::App& app, Action& chosen, const Program& program) {
  CLI::App* c = add_command(app, "generate", "Continue a text, a file of prompts, a conversation or tokens");
  auto f = std::make_shared<GenerateFlags>();
  add_model_argument(*c, f->model);
  add_ranks_argument(*c, f->settings);
  c->add_option("-p,--prompt", f->prompt, "Text to continue");
  as_path(c->add_option("-f,--prompt-file,--file", f->prompt_file,
                        "A file with the text to continue; - reads standard input"));
  as_path(c->add_option("--prompts", f->prompts,
                        "A file of prompts, one JSON object a line, which are continued together; - reads "
                        "standard input"));
  add_integer_flag(*c, "--parallel", f->parallel, 1, 65536, "Prompts of --prompts that run together");
  as_path(c->add_option("--tokens", f->tokens, "safetensors file with \"tokens\" [B, T] int64"));
  as_path(c->add_option("-o,--out", f->out, "With --tokens: file to write, \"tokens\" [B, T + n]"));
  add_integer_flag(
      *c, "-n,--n-predict,--predict,--max-new-tokens", f->count, 0, int64_t{1} << 40,
      fmt::format("Tokens to generate; 0: read only; with --chat for each answer, {} unless given",
                  kAnswerTokens));
  add_ending_flags(*c, *f);
  add_sampler_flags(*c, *f);
  add_integer_flag(*c, "--logprobs,--n-probs", f->logprobs, -1, int64_t{1} << 40,
                   "Print the log-probability of each token and of the K most likely; -1: off");
  add_chat_flags(*c, *f);
  as_path(c->add_option("--tokenizer", f->tokenizer, "Tokenizer of the text; the model's own unless given"))
      ->excludes("--tokens");
  as_path(c->add_option("--state-in", f->state_in, "Go on from a saved state"));
  as_path(c->add_option("--state-out", f->state_out,
                        "Save the state at the end; without attention, a file of constant size"));
  add_common_flags(*c, f->common);
  add_weights_flag(*c, f->common);
  c->footer(
      "Examples:\n"
      "  natrix generate runs/quickstart -p \"In the beginning\" -n 200\n"
      "  natrix generate runs/quickstart -f book.txt -n 0 --state-out book.state\n"
      "  natrix generate runs/quickstart --state-in book.state -n 200\n"
      "  natrix generate runs/quickstart -p \"In the\" --stop . --logprobs 3\n"
      "  natrix generate runs/quickstart --prompts questions.jsonl -n 40\n"
      "  natrix generate MODEL --chat --chat-template chatml\n"
      "  mpirun -n 4 natrix generate runs/quickstart -f book.txt -n 0 --state-out book.state\n"
      "Several ranks read the prompt together (parallel.cp, all of them); then the first one writes.\n"
      "Where logits or the state are not finite neither --out nor --state-out is written, and the status is "
      "1.");
  c->callback([c, f, &chosen, &program] {
    if (f->chat && c->count("--n-predict") == 0) f->count = kAnswerTokens;
    chosen = [f, &program] {
      check_generate_flags(*f, program.session.size());
      std::vector<std::unique_ptr<const AtomicFile>> held;
      if (program.session.rank() == 0) held = check_outputs(*f);  // the other ranks write nothing
      return report_nonfinite(f->common.json, program.session.rank() == 0, result_key(*f),
                              [&] { return generate(*f, program); });
    };
  });
}

}  // namespace natrix
