// How generated tokens are reported: why a text ended, and log-probabilities, with the names of OpenAI's API.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/generate/continuation.h"
#include "core/generate/log_probabilities.h"

namespace natrix {

/// Adds "finish_reason": "stop" or "length", and "stop_reason": the stop string or the id that ended the text,
/// or null.
void add_finish(nlohmann::ordered_json& to, const Continuation& text);

/// {"id", "text", "logprob", "top": [{"id", "text", "logprob"}, …]}. A token whose text is no whole UTF-8 has
/// "bytes", too. tokenizer: null: there is no text.
nlohmann::ordered_json logprobs_json(const LogProbabilities& p, const Tokenizer* tokenizer);
/// The same as a line for people: id, log-probability and text of the token, then of the others.
std::string logprobs_line(const LogProbabilities& p, const Tokenizer& tokenizer);

}  // namespace natrix
