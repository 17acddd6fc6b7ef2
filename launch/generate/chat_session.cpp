#include "launch/generate/chat_session.h"

#include "kernels/base/check.h"
#include "launch/generate/generate_run.h"

namespace natrix {

ChatSession::ChatSession(Session& session, const Tokenizer& tokenizer, std::string text)
    : session_(session), tokenizer_(tokenizer), text_(std::move(text)) {
  places_.push_back(place_of(session, text_));
}

ChatSession::ChatSession(Session& session, const Tokenizer& tokenizer, std::string text,
                         const Session& beginning)
    : session_(session), tokenizer_(tokenizer), text_(std::move(text)) {
  places_.push_back(place_of(beginning, ""));
  places_.push_back(place_of(session, text_));
}

ChatSession::Place ChatSession::place_of(const Session& session, std::string text) {
  std::optional<int64_t> pending;
  if (session.pending()) pending = *session.pending().as<int64_t>();
  return {.text = std::move(text),
          .states = copy_of(session.states()),
          .pending = pending,
          .position = session.position()};
}

ChatSession::Reading ChatSession::read(const std::string& history, const std::string& text) {
  Reading reading;
  const int64_t before = session_.position();
  if (!begins(text)) go_back_to_beginning_of(text);
  reading.given_up = before - session_.position();
  if (text.starts_with(history) && begins(history)) {
    feed(history.substr(text_.size()), reading);
    places_.erase(places_.begin() + 1, places_.end());
    places_.push_back(place_of(session_, text_));
  }
  feed(text.substr(text_.size()), reading);
  if (!session_.pending())
    throw InputError("the conversation is rendered as an empty text; see --chat-template");
  return reading;
}

void ChatSession::settle(const std::string& history) {
  if (begins(history)) return;
  go_back_to_beginning_of(history);
  Reading unused;
  feed(history.substr(text_.size()), unused);
}

void ChatSession::write(int64_t token) {
  session_.feed(View(&token, Dtype::kI64, {1, 1}));
  const std::string piece = tokenizer_.decode({&token, 1});
  text_ += piece;
  exact_ = exact_ && !piece.empty();
}

bool ChatSession::reset() {
  if (!places_.front().text.empty()) return false;
  places_.erase(places_.begin() + 1, places_.end());
  go_to(places_.front());
  return true;
}

void ChatSession::go_back_to_beginning_of(const std::string& text) {
  while (!places_.empty() && !text.starts_with(places_.back().text)) places_.pop_back();
  if (places_.empty()) {
    throw InputError(
        "the conversation so far is rendered in another way than the state has read it; go on with the "
        "--chat-template that it began with, or begin anew without --state-in");
  }
  go_to(places_.back());
}

void ChatSession::go_to(const Place& place) {
  int64_t pending = place.pending.value_or(0);
  session_.restore(place.states, place.pending ? View(&pending, Dtype::kI64, {1, 1}) : View{},
                   place.position);
  text_ = place.text;
  exact_ = true;
}

void ChatSession::feed(const std::string& text, Reading& reading) {
  const std::vector<int64_t> ids = tokenizer_.encode(text);
  if (!ids.empty()) session_.feed(as_row(ids).view());
  reading.fed.insert(reading.fed.end(), ids.begin(), ids.end());
  text_ += text;
}

}  // namespace natrix
