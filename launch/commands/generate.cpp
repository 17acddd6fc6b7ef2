// natrix generate: continues a text or given tokens, and saves and loads the state of a prefix.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/files/atomic_file.h"
#include "core/files/safetensors.h"
#include "core/files/xxhash64.h"
#include "core/generate/decoder.h"
#include "core/generate/joint_prefill.h"
#include "core/generate/session_file.h"
#include "core/hf/hf_checkpoint.h"
#include "core/io/checkpoint_dir.h"
#include "core/report/memory.h"
#include "core/report/progress.h"
#include "core/report/say.h"
#include "core/report/units.h"
#include "core/sequence/diagnose.h"
#include "core/tokenizers/tokenizer.h"
#include "distributed/mpi_communicator.h"
#include "launch/api/text.h"
#include "launch/api/token_rows.h"
#include "launch/commands/commands.h"
#include "launch/commands/common.h"
#include "launch/commands/number_flags.h"
#include "launch/reading_ranks.h"

namespace natrix {
namespace {

constexpr int64_t kLeastPiece = 1024, kMostPiece = int64_t{1} << 20;  // bytes of a prompt file read at once

struct GenerateFlags {
  CommonFlags common;
  SamplerConfig sampler;
  std::string model, prompt, prompt_file, tokens, out, tokenizer, state_in, state_out;
  std::vector<std::string> settings;
  int64_t count = 128;
  bool ignore_eos = false;
  bool seed_drawn = false;  // --seed -1
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class Generation {
 public:
  Generation(const GenerateFlags& flags, const Program& program)
      : flags_(flags),
        dir_(resolve_model_dir(flags.model)),
        ranks_(flags.settings, Reads::kOneText, flags.common, dir_, program),
        ctx_(ranks_.context()) {
    if (ranks_.shape().ep > 1) {
      throw InputError("parallel.ep: the rank that writes needs all experts; leave parallel.ep out");
    }
    model_ = ranks_.load_model();
    if (!flags.state_in.empty() || !flags.state_out.empty()) hash_ = hash_weights(model_->params());
    if (program.session.size() > 1) ranks_.require_agreement(*model_, what_is_read());
    pack_for_reading(*model_, ctx_, flags.common);
  }

  int run() {
    if (flags_.seed_drawn && !quiet()) fmt::print(stderr, "natrix: seed {}\n", flags_.sampler.seed);
    return flags_.tokens.empty() ? text() : tokens();
  }

 private:
  using Feed = std::function<void(Session&)>;  // gives a session what this command's was given; empty: cannot

  int64_t vocabulary() const { return *model_->config().vocab_size; }

  std::vector<Agreed> what_is_read() const {
    std::vector<Agreed> list = {{"--prompt", flags_.prompt, "start all ranks with the same flags"}};
    for (const auto& [flag, path] :
         {std::pair("--prompt-file", flags_.prompt_file), std::pair("--tokens", flags_.tokens),
          std::pair("--state-in", flags_.state_in)}) {
      const bool readable = !path.empty() && std::filesystem::is_regular_file(path);
      list.push_back({fmt::format("what {} names on the host", flag), readable ? hash_file(path) : "",
                      "give all hosts the same files"});
    }
    return list;
  }

  /// Tokens in, tokens out: [B, T] → [B, T + n].
  int tokens() {
    const Buffer prompt = read_tokens(flags_.tokens, vocabulary());
    const int64_t batch = prompt.view().rows(), length = prompt.view().cols();
    Session session(*model_, ctx_, batch, flags_.common.chunk);
    open_state(session);
    const auto begin = std::chrono::steady_clock::now();
    {
      JointPrefill prefill(session, *model_, ctx_, ranks_.ranks(), flags_.common.chunk);
      Progress progress("reading", prompt.view().count(), "tokens", {.quiet = quiet()});
      const auto advance = [&](int64_t n) { progress.advance(n * batch); };
      prefill.feed(prompt.view(), advance);
      prefill.finish(advance);
    }
    if (!ranks_.first()) return 0;
    note_reading(prompt.view().count(), begin);
    const auto tokenizer = text_tokenizer_if_any("", dir_, vocabulary());
    Decoder decoder(session, flags_.sampler, ends(tokenizer.get()));
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t t = 0; t < length; ++t) decoder.accept(b, prompt.view().row<int64_t>(b)[t]);
    }
    Buffer all(Dtype::kI64, {batch, length + flags_.count});
    copy(prompt.view(), all.view().columns(0, length));
    const auto start = std::chrono::steady_clock::now();
    int64_t n = 0;
    const Feed feed = [&](Session& again) { again.feed(all.view().columns(0, length + n)); };
    for (; n < flags_.count; ++n) {
      copy(decoder.next([&] { return where_nonfinite(session, feed); }), all.view().columns(length + n, 1));
    }
    close_state(session, feed);
    write_safetensors(flags_.out, {{"tokens", all.view()}});
    report(session, flags_.count * batch, seconds_since(start), {{"out", flags_.out}});
    return 0;
  }

  /// Text in, text out.
  int text() {
    const auto tokenizer = text_tokenizer(flags_.tokenizer, dir_, vocabulary());
    Session session(*model_, ctx_, 1, flags_.common.chunk);
    Decoder decoder(session, flags_.sampler, ends(tokenizer.get()));
    const bool resumed = open_state(session);
    const auto begin = std::chrono::steady_clock::now();
    const int64_t read = read_prompt(session, &decoder, *tokenizer, ranks_.ranks());
    if (!ranks_.first()) return 0;  // the first rank goes on alone
    note_reading(read, begin);
    if (read == 0 && !resumed) {
      if (tokenizer->eod() == kNoEod)
        throw InputError("generate needs a prompt: --prompt, --prompt-file or --state-in");
      session.feed(as_row({tokenizer->eod()}).view());  // an empty prompt is the start of a document
    }
    std::string continuation;
    StreamDecoder pieces(*tokenizer);
    const auto emit = [&](const std::string& piece) {
      continuation += piece;
      if (!flags_.common.json) std::cout << piece << std::flush;
    };
    const auto start = std::chrono::steady_clock::now();
    int64_t n = 0;
    std::vector<int64_t> written;
    Feed feed = [&](Session& again) {
      OneProcess alone;
      if (read_prompt(again, nullptr, *tokenizer, alone.ranks()) == 0 && !resumed)
        again.feed(as_row({tokenizer->eod()}).view());
      if (!written.empty()) again.feed(as_row(written).view());
    };
    if (flags_.prompt_file == "-") feed = {};
    for (; n < flags_.count; ++n) {
      const int64_t token = *decoder.next([&] { return where_nonfinite(session, feed); }).as<int64_t>();
      written.push_back(token);
      if (decoder.ended()) break;
      emit(pieces.push(token));
      if (!std::cout) return 1;  // nobody reads on: neither is there a state to save
    }
    emit(pieces.finish());
    if (!flags_.common.json && flags_.count > 0) std::cout << std::endl;
    close_state(session, feed);
    report(session, n, seconds_since(start), {{"text", continuation}});
    return 0;
  }

  /// Streams the prompt through the model, so that a file of any size needs no memory. Every rank reads all
  /// of its text, which is nothing beside what the model does with its part.
  int64_t read_prompt(Session& session, Decoder* decoder, const Tokenizer& tokenizer, const Ranks& ranks) {
    JointPrefill prefill(session, *model_, ctx_, ranks, flags_.common.chunk);
    const auto feed_text = [&](std::string_view text, const JointPrefill::Progress& progress) {
      const std::vector<int64_t> ids = tokenizer.encode(text);
      for (int64_t id : ids) {
        if (decoder != nullptr) decoder->accept(0, id);
      }
      if (!ids.empty()) prefill.feed(as_row(ids).view(), progress);
      return static_cast<int64_t>(ids.size());
    };
    if (flags_.prompt_file.empty()) {
      const int64_t read = feed_text(flags_.prompt, [](int64_t) {});
      prefill.finish();
      return read;
    }
    std::ifstream file;
    if (flags_.prompt_file != "-") {
      file.open(flags_.prompt_file, std::ios::binary);
      if (!file || std::filesystem::is_directory(flags_.prompt_file)) {
        throw InputError(
            fmt::format("--prompt-file {}: {}", flags_.prompt_file,
                        file ? "is a directory; expected a text" : "cannot be opened for reading"));
      }
    }
    std::istream& in = flags_.prompt_file == "-" ? std::cin : file;
    int64_t total = 0, size = 0;
    if (file.is_open()) {
      size = static_cast<int64_t>(file.seekg(0, std::ios::end).tellg());
      file.seekg(0);
    }
    Progress progress("reading", size, "tokens", {.quiet = quiet()});
    const auto advance = [&](int64_t n) { progress.advance(n); };
    const int64_t at_once = std::clamp(flags_.common.chunk, kLeastPiece, kMostPiece) * ranks_.shape().cp;
    std::string piece(static_cast<size_t>(at_once), '\0');
    while (in.read(piece.data(), static_cast<std::streamsize>(piece.size())), in.gcount() > 0) {
      total += feed_text({piece.data(), static_cast<size_t>(in.gcount())}, advance);
    }
    if (in.bad() || (&in == &std::cin && std::ferror(stdin) != 0))
      throw RunError(fmt::format("--prompt-file {}: reading failed", flags_.prompt_file));
    prefill.finish(advance);
    return total;
  }

  static Buffer as_row(const std::vector<int64_t>& ids) {
    Buffer tokens(Dtype::kI64, {1, static_cast<int64_t>(ids.size())});
    std::copy(ids.begin(), ids.end(), tokens.view().as<int64_t>());
    return tokens;
  }

  bool quiet() { return flags_.common.quiet || !ranks_.first(); }

  bool open_state(Session& session) {
    if (flags_.state_in.empty()) return false;
    const auto start = std::chrono::steady_clock::now();
    load_session(flags_.state_in, hash_, session);
    resume_seconds_ = seconds_since(start);
    return true;
  }

  void close_state(const Session& session, const Feed& feed) {
    if (flags_.state_out.empty()) return;
    try {
      save_session(flags_.state_out, hash_, session);
    } catch (const NonfiniteError& e) {
      throw NonfiniteError(fmt::format("{}: {}", e.what(), where_nonfinite(session, feed)));
    }
    report_state();
  }

  /// A model with attention has no state of constant size.
  void report_state() {
    const int64_t per_token = bytes_per_token(model_->carries());
    if (per_token == 0 || quiet()) return;
    fmt::print(stderr, "natrix: {}: {}; it grows by {} bytes a token\n", flags_.state_out,
               human_bytes(static_cast<int64_t>(std::filesystem::file_size(flags_.state_out))), per_token);
  }

  std::vector<int64_t> ends(const Tokenizer* tokenizer) const {
    return flags_.ignore_eos ? std::vector<int64_t>{} : end_of_text_ids(dir_, tokenizer, vocabulary());
  }

  /// Reads all of it again, on this rank alone.
  std::string where_nonfinite(const Session& session, const Feed& feed) {
    if (!feed) {
      const std::string weight = nonfinite_weight(*model_);
      return weight.empty() ? "standard input cannot be read again to find the place; give a file"
                            : fmt::format("the weight {} is not finite", weight);
    }
    OneProcess alone;
    return locate_nonfinite(*model_, ctx_, alone.ranks(), [&](NonfiniteWatch& watch) {
      Session again(*model_, ctx_, session.batch(), flags_.common.chunk, /*records=*/false);
      open_state(again);
      again.watch(watch);
      feed(again);
      again.logits();
    });
  }

  void note_reading(int64_t tokens, std::chrono::steady_clock::time_point begin) {
    read_ = tokens;
    read_seconds_ = seconds_since(begin);
  }

  void report(const Session& session, int64_t generated, double seconds, nlohmann::ordered_json result) {
    const auto rate_of = [](int64_t tokens, double s) { return s > 0 ? static_cast<double>(tokens) / s : 0; };
    const double rate = rate_of(generated, seconds), read_rate = rate_of(read_, read_seconds_);
    if (flags_.common.json) {
      result["generated"] = generated;
      result["seed"] = flags_.sampler.seed;
      result["position"] = session.position();
      result["tokens_per_second"] = rate;
      result["read_tokens_per_second"] = read_rate;
      result["peak_memory_bytes"] = peak_resident_bytes();
      if (!flags_.state_in.empty()) result["state_load_seconds"] = resume_seconds_;
      print_json(result);
    } else if (!flags_.common.quiet) {
      say(fmt::format(
          "natrix: {} tokens read at {:.1f} tokens/s, {} written at {:.1f}; position {}; peak memory {:.0f} "
          "MiB{}\n",
          read_, read_rate, generated, rate, session.position(),
          static_cast<double>(peak_resident_bytes()) / 1048576,
          flags_.state_in.empty() ? "" : fmt::format("; state loaded in {:.1f} ms", resume_seconds_ * 1e3)));
    }
    flags_.common.announce(ctx_);
  }

  const GenerateFlags& flags_;
  std::string dir_;
  ReadingRanks ranks_;
  Context& ctx_;
  AssembledModel model_;
  std::string hash_;
  double resume_seconds_ = 0, read_seconds_ = 0;
  int64_t read_ = 0;
};

void check(const GenerateFlags& f, int ranks) {
  const int sources = !f.prompt.empty() + !f.prompt_file.empty() + !f.tokens.empty();
  if (sources > 1) throw InputError("give one of --prompt, --prompt-file and --tokens");
  if (f.tokens.empty() != f.out.empty())
    throw InputError("--tokens IN.safetensors and --out OUT.safetensors go together");
  if (f.prompt_file == "-" && ranks > 1)
    throw InputError(
        "--prompt-file -: standard input reaches one rank only; name a file that all of them can read");
}

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

}  // namespace

void add_generate(CLI::App& app, Action& chosen, const Program& program) {
  CLI::App* c = add_command(app, "generate", "Continue a text or given tokens");
  auto f = std::make_shared<GenerateFlags>();
  add_model_argument(*c, f->model);
  add_ranks_argument(*c, f->settings);
  c->add_option("-p,--prompt", f->prompt, "Text to continue");
  as_path(c->add_option("-f,--prompt-file,--file", f->prompt_file,
                        "A file with the text to continue; - reads standard input"));
  as_path(c->add_option("--tokens", f->tokens, "safetensors file with \"tokens\" [B, T] int64"));
  as_path(c->add_option("-o,--out", f->out, "With --tokens: file to write, \"tokens\" [B, T + n]"));
  add_integer_flag(*c, "-n,--n-predict,--predict,--max-new-tokens", f->count, 0, int64_t{1} << 40,
                   "Tokens to generate; 0: read only");
  SamplerConfig& s = f->sampler;
  add_number_flag(*c, "--temp,--temperature", s.temperature, 0, 100, "0 is greedy");
  add_integer_flag(*c, "--top-k,--top_k", s.top_k, 0, int64_t{1} << 40, "0: off");
  add_number_flag(*c, "--top-p,--top_p", s.top_p, 0, 1, "1: off");
  add_number_flag(*c, "--min-p,--min_p", s.min_p, 0, 1, "0: off");
  add_number_flag(*c, "--repeat-penalty,--repetition-penalty,--repetition_penalty", s.repeat_penalty, 0.01,
                  100, "1: off");
  add_integer_flag(*c, "--repeat-last-n", s.repeat_last_n, 0, int64_t{1} << 31,
                   "Tokens that the penalty looks back on");
  add_seed_flag(*c, "-s,--seed", s.seed, f->seed_drawn);
  c->add_flag("--ignore-eos", f->ignore_eos, "Go on after the end of a document");
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
      "  mpirun -n 4 natrix generate runs/quickstart -f book.txt -n 0 --state-out book.state\n"
      "Several ranks read the prompt together (parallel.cp, all of them); then the first one writes.\n"
      "Where logits or the state are not finite neither --out nor --state-out is written, and the status is "
      "1.");
  c->callback([f, &chosen, &program] {
    chosen = [f, &program] {
      check(*f, program.session.size());
      std::vector<std::unique_ptr<const AtomicFile>> held;
      if (program.session.rank() == 0) held = check_outputs(*f);  // the other ranks write nothing
      return report_nonfinite(f->common.json, program.session.rank() == 0, f->tokens.empty() ? "text" : "out",
                              [&] { return Generation(*f, program).run(); });
    };
  });
}

}  // namespace natrix
