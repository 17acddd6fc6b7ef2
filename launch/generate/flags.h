// The flags of natrix generate.
#pragma once

#include <string>
#include <vector>

#include "core/generate/sampler.h"
#include "launch/commands/common.h"

namespace natrix {

struct GenerateFlags {
  CommonFlags common;
  SamplerConfig sampler;  // without biases, which need the vocabulary
  std::string model, prompt, prompt_file, prompts, tokens, out, tokenizer, state_in, state_out;
  std::string system, chat_template;
  std::vector<std::string> settings, stop, logit_bias;
  std::vector<int64_t> stop_ids;
  int64_t count = 128;
  int64_t logprobs = -1;  // −1: none
  int64_t parallel = 64;  // prompts of --prompts that run together
  bool chat = false;
  bool ignore_eos = false;
  bool seed_drawn = false;  // --seed -1

  bool wants_logprobs() const { return logprobs >= 0; }
};

/// InputError for flags that do not go together. ranks: how many a launcher started.
void check_generate_flags(const GenerateFlags& flags, int ranks);

/// One value of --logit-bias: TOKEN+BIAS, TOKEN-BIAS or TOKEN-inf. InputError for anything else, and for a
/// token beyond the vocabulary.
LogitBias parse_logit_bias(const std::string& text, int64_t vocab_size);

}  // namespace natrix
