#include "launch/generate/generate_run.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/xxhash64.h"
#include "core/generate/session_file.h"
#include "core/hf/hf_checkpoint.h"
#include "core/io/checkpoint_dir.h"
#include "core/report/memory.h"
#include "core/report/say.h"
#include "core/report/units.h"
#include "core/sequence/diagnose.h"
#include "distributed/mpi_communicator.h"
#include "launch/api/text.h"
#include "launch/commands/commands.h"

namespace natrix {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Buffer as_row(const std::vector<int64_t>& ids) {
  Buffer tokens(Dtype::kI64, {1, static_cast<int64_t>(ids.size())});
  std::copy(ids.begin(), ids.end(), tokens.view().as<int64_t>());
  return tokens;
}

GenerateRun::GenerateRun(const GenerateFlags& flags, const Program& program)
    : flags_(flags),
      dir_(resolve_model_dir(flags.model)),
      ranks_(flags.settings, Reads::kOneText, flags.common, dir_, program),
      ctx_(ranks_.context()),
      sampler_(flags.sampler) {
  if (ranks_.shape().ep > 1) {
    throw InputError("parallel.ep: the rank that writes needs all experts; leave parallel.ep out");
  }
  model_ = ranks_.load_model();
  for (const std::string& text : flags.logit_bias)
    sampler_.logit_bias.push_back(parse_logit_bias(text, vocabulary()));
  for (const int64_t id : flags.stop_ids) {
    if (id >= vocabulary())
      throw InputError(fmt::format("--stop-id {}: the model's vocabulary has {} entries", id, vocabulary()));
  }
  if (!flags.state_in.empty() || !flags.state_out.empty()) hash_ = hash_weights(model_->params());
  if (program.session.size() > 1) ranks_.require_agreement(*model_, what_is_read());
  pack_for_reading(*model_, ctx_, flags.common);
  if (flags.seed_drawn && !quiet()) fmt::print(stderr, "natrix: seed {}\n", flags.sampler.seed);
}

std::vector<Agreed> GenerateRun::what_is_read() const {
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

std::vector<int64_t> GenerateRun::end_ids(const Tokenizer* tokenizer) const {
  std::vector<int64_t> ids;
  if (!flags_.ignore_eos) ids = end_of_text_ids(dir_, tokenizer, vocabulary());
  ids.insert(ids.end(), flags_.stop_ids.begin(), flags_.stop_ids.end());
  return ids;
}

StopRules GenerateRun::stop_rules(const Tokenizer* tokenizer) const {
  return {.tokens = flags_.count, .ids = end_ids(tokenizer), .texts = flags_.stop};
}

bool GenerateRun::open_state(Session& session) {
  if (flags_.state_in.empty()) return false;
  const auto start = std::chrono::steady_clock::now();
  state_note_ = load_session(flags_.state_in, hash_, session);
  resume_seconds_ = seconds_since(start);
  return true;
}

void GenerateRun::close_state(const Session& session, const Feed& feed, const std::string& note) {
  if (flags_.state_out.empty()) return;
  try {
    save_session(flags_.state_out, hash_, session, note);
  } catch (const NonfiniteError& e) {
    throw NonfiniteError(fmt::format("{}: {}", e.what(), where_nonfinite(session.batch(), feed)));
  }
  report_state();
}

/// A model with attention has no state of constant size.
void GenerateRun::report_state() {
  const int64_t per_token = bytes_per_token(model_->carries());
  if (per_token == 0 || quiet()) return;
  fmt::print(stderr, "natrix: {}: {}; it grows by {} bytes a token\n", flags_.state_out,
             human_bytes(static_cast<int64_t>(std::filesystem::file_size(flags_.state_out))), per_token);
}

std::string GenerateRun::where_nonfinite(int64_t batch, const Feed& feed) {
  if (!feed) {
    const std::string weight = nonfinite_weight(*model_);
    return weight.empty() ? "standard input cannot be read again to find the place; give a file"
                          : fmt::format("the weight {} is not finite", weight);
  }
  OneProcess alone;
  return locate_nonfinite(*model_, ctx_, alone.ranks(), [&](NonfiniteWatch& watch) {
    Session again(*model_, ctx_, batch, flags_.common.chunk, /*records=*/false);
    open_state(again);
    again.watch(watch);
    feed(again);
    again.logits();
  });
}

void GenerateRun::note_reading(int64_t tokens, double seconds) {
  read_ += tokens;
  read_seconds_ += seconds;
}

void GenerateRun::report(std::optional<int64_t> position, int64_t generated, double seconds,
                         nlohmann::ordered_json result) {
  const auto rate_of = [](int64_t tokens, double s) { return s > 0 ? static_cast<double>(tokens) / s : 0; };
  const double rate = rate_of(generated, seconds), read_rate = rate_of(read_, read_seconds_);
  if (flags_.common.json) {
    result["generated"] = generated;
    result["seed"] = flags_.sampler.seed;
    if (position) result["position"] = *position;
    result["tokens_per_second"] = rate;
    result["read_tokens_per_second"] = read_rate;
    result["peak_memory_bytes"] = peak_resident_bytes();
    if (!flags_.state_in.empty()) result["state_load_seconds"] = resume_seconds_;
    print_json(result);
  } else if (!flags_.common.quiet) {
    say(fmt::format(
        "natrix: {} tokens read at {:.1f} tokens/s, {} written at {:.1f}{}; peak memory {:.0f} MiB{}\n",
        read_, read_rate, generated, rate, position ? fmt::format("; position {}", *position) : "",
        static_cast<double>(peak_resident_bytes()) / 1048576,
        flags_.state_in.empty() ? "" : fmt::format("; state loaded in {:.1f} ms", resume_seconds_ * 1e3)));
  }
  flags_.common.announce(ctx_);
}

}  // namespace natrix
