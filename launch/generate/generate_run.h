// GenerateRun: what all ways to generate share. The model on its ranks, states in files, stop rules, the place
// where numbers stop being finite, and the figures at the end.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/generate/continuation.h"
#include "core/generate/session.h"
#include "launch/generate/flags.h"
#include "launch/reading_ranks.h"

namespace natrix {

struct Program;

double seconds_since(std::chrono::steady_clock::time_point start);
/// [1, n] i64.
Buffer as_row(const std::vector<int64_t>& ids);

class GenerateRun {
 public:
  /// Loads the model. References are borrowed.
  GenerateRun(const GenerateFlags& flags, const Program& program);

  const GenerateFlags& flags() const { return flags_; }
  const std::string& directory() const { return dir_; }
  ReadingRanks& ranks() { return ranks_; }
  Context& context() { return ctx_; }
  Model& model() { return *model_; }
  int64_t vocabulary() const { return *model_->config().vocab_size; }
  /// Whether this process prints no progress and no remarks.
  bool quiet() { return flags_.common.quiet || !ranks_.first(); }

  /// The sampler of the flags, with their biases.
  const SamplerConfig& sampler() const { return sampler_; }
  /// The ids that end a text: those of the model, unless --ignore-eos was given, and those of --stop-id.
  std::vector<int64_t> end_ids(const Tokenizer* tokenizer) const;
  StopRules stop_rules(const Tokenizer* tokenizer) const;

  /// Feeds a session what this command's session was fed. Empty: it cannot be read again.
  using Feed = std::function<void(Session&)>;
  /// Loads --state-in; false without it.
  bool open_state(Session& session);
  /// Saves --state-out, if it was given. note: goes into the file's metadata (StateInfo::note).
  void close_state(const Session& session, const Feed& feed, const std::string& note = {});
  /// StateInfo::note of the file that open_state() loaded.
  const std::string& state_note() const { return state_note_; }
  /// Says where numbers stop being finite. Reads all of it again, on this rank alone.
  std::string where_nonfinite(int64_t batch, const Feed& feed);

  void note_reading(int64_t tokens, double seconds);
  /// Prints the end of the command: one JSON object with `result` and the figures, or a line on stderr.
  /// position: of the session, if there is one.
  void report(std::optional<int64_t> position, int64_t generated, double seconds,
              nlohmann::ordered_json result);

 private:
  std::vector<Agreed> what_is_read() const;
  void report_state();

  const GenerateFlags& flags_;
  std::string dir_;
  ReadingRanks ranks_;
  Context& ctx_;
  AssembledModel model_;
  SamplerConfig sampler_;
  std::string hash_, state_note_;
  double resume_seconds_ = 0, read_seconds_ = 0;
  int64_t read_ = 0;
};

/// The ways. Each returns the exit status.
int generate_text(GenerateRun& run);     // --prompt, --prompt-file
int generate_tokens(GenerateRun& run);   // --tokens
int generate_prompts(GenerateRun& run);  // --prompts
int generate_chat(GenerateRun& run);     // --chat

}  // namespace natrix
