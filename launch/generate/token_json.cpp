#include "launch/generate/token_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/json.h"

namespace natrix {
namespace {

using Json = nlohmann::ordered_json;

bool is_utf8(const std::string& text) {
  try {
    static_cast<void>(Json(text).dump());
    return true;
  } catch (const Json::type_error&) {
    return false;
  }
}

Json token_json(const TokenLogProbability& t, const Tokenizer* tokenizer) {
  Json json = {{"id", t.token}};
  if (tokenizer != nullptr) {
    const std::string text = tokenizer->decode({&t.token, 1});
    json["text"] = text;  // what is not UTF-8 is replaced when it is printed
    if (!is_utf8(text)) {
      Json& bytes = json["bytes"] = Json::array();
      for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
    }
  }
  json["logprob"] = t.log_probability;
  return json;
}

std::string token_words(const TokenLogProbability& t, const Tokenizer& tokenizer) {
  return fmt::format("{} {:.4f} {}", t.token, t.log_probability, excerpt(tokenizer.decode({&t.token, 1})));
}

}  // namespace

void add_finish(Json& to, const Continuation& text) {
  using End = Continuation::End;
  to["finish_reason"] = text.end() == End::kLength || text.end() == End::kNone ? "length" : "stop";
  Json& reason = to["stop_reason"] = nullptr;
  if (text.end() == End::kStopId) reason = text.stop_id();
  if (text.end() == End::kStopText) reason = text.stop_text();
  if (text.end() == End::kInterrupted) reason = "interrupted";
}

Json logprobs_json(const LogProbabilities& p, const Tokenizer* tokenizer) {
  Json json = token_json(p.chosen, tokenizer);
  Json& top = json["top"] = Json::array();
  for (const TokenLogProbability& t : p.top) top.push_back(token_json(t, tokenizer));
  return json;
}

std::string logprobs_line(const LogProbabilities& p, const Tokenizer& tokenizer) {
  std::string line = token_words(p.chosen, tokenizer);
  for (const TokenLogProbability& t : p.top) line += "\t" + token_words(t, tokenizer);
  return line;
}

}  // namespace natrix
