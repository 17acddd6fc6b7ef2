#include <deque>
#include <fmt/format.h>
#include <limits>
#include <optional>

#include "core/generate/continuation.h"
#include "core/generate/decoder.h"
#include "core/generate/log_probabilities.h"
#include "core/generate/session_file.h"
#include "core/sequence/diagnose.h"
#include "launch/api/public/guarded.h"
#include "launch/api/public/model_impl.h"

namespace natrix {

struct TextSession::Impl {
  explicit Impl(std::shared_ptr<LanguageModel::Impl> shared)
      : model(std::move(shared)), session(*model->model, model->ctx, 1, model->chunk) {}

  void feed(std::span<const int64_t> tokens) {
    if (tokens.empty()) return;
    const Buffer row = model->token_rows(tokens, 1);
    before_logits.reset();
    session.feed(row.view());
    note(tokens);
  }
  void note(std::span<const int64_t> tokens) {
    recent.insert(recent.end(), tokens.begin(), tokens.end());
    const auto most = static_cast<size_t>(SamplerConfig{}.repeat_last_n);
    if (recent.size() > most) recent.erase(recent.begin(), recent.end() - static_cast<std::ptrdiff_t>(most));
  }
  /// The session as it was before logits() ran its pending token, so that it can write on and be saved.
  void rewind() {
    if (!before_logits) return;
    session.restore(before_logits->states, before_logits->pending.view(), session.position());
    before_logits.reset();
  }
  void begin_document() {
    if (session.position() > 0 || session.pending()) return;
    if (!model->tokenizer || model->tokenizer->eod() == kNoEod)
      throw InputError(
          "generate needs a prompt, because this model has no token that starts a document: read() first");
    feed(std::vector<int64_t>{model->tokenizer->eod()});
  }
  std::string why_not_finite() const {
    const std::string weight = nonfinite_weight(*model->model);
    return weight.empty() ? "score() of the same tokens finds the place"
                          : fmt::format("the weight {} is not finite", weight);
  }
  /// Calls heard(token, text that is certain now) for each token; the last one may be an id that ends the
  /// text. The model's mutex is not held during the call. tokenizer: null: there is no text.
  void decode(const GenerateOptions& options, const Tokenizer* tokenizer,
              const std::function<bool(int64_t token, const std::string& piece)>& heard);
  GeneratedToken describe(const LogProbabilities& p) const;

  struct Snapshot {
    CarryStates states;
    Buffer pending;
  };
  std::shared_ptr<LanguageModel::Impl> model;
  Session session;
  std::deque<int64_t> recent;  // for the repetition penalty
  std::optional<Snapshot> before_logits;
  std::vector<float> logits;  // valid while before_logits is
  Finish finish;
};

namespace {

/// InputError for an option out of range.
SamplerConfig sampler_of(const GenerateOptions& o, int64_t vocab_size) {
  if (!(o.temp >= 0 && o.top_k >= 0 && o.top_p >= 0 && o.top_p <= 1 && o.min_p >= 0 && o.min_p <= 1 &&
        o.repeat_penalty > 0 && o.top_logprobs >= 0))
    throw InputError(
        "a generate option is out of range: temp, top_k, top_logprobs >= 0; top_p, min_p in [0, 1]; "
        "repeat_penalty > 0");
  SamplerConfig sampler{.temperature = o.temp,
                        .top_k = o.top_k,
                        .top_p = o.top_p,
                        .min_p = o.min_p,
                        .repeat_penalty = o.repeat_penalty,
                        .seed = o.seed};
  for (const auto& [token, bias] : o.logit_bias) {
    if (token < 0 || token >= vocab_size || !(bias < std::numeric_limits<double>::infinity())) {
      throw InputError(
          fmt::format("logit_bias of token {} is {}; tokens are below {}, and biases numbers or -infinity",
                      token, bias, vocab_size));
    }
    sampler.logit_bias.push_back({token, bias});
  }
  return sampler;
}

Finish finish_of(const Continuation& text) {
  Finish finish{.reason = text.end() == Continuation::End::kLength ? "length" : "stop"};
  if (text.end() == Continuation::End::kStopId) finish.stop_id = text.stop_id();
  finish.stop_text = text.stop_text();
  return finish;
}

}  // namespace

GeneratedToken TextSession::Impl::describe(const LogProbabilities& p) const {
  const auto described = [&](const TokenLogProbability& t) {
    return TokenLogprob{.token = t.token,
                        .text = model->tokenizer ? model->tokenizer->decode({&t.token, 1}) : "",
                        .logprob = t.log_probability};
  };
  GeneratedToken token{described(p.chosen)};
  for (const TokenLogProbability& t : p.top) token.top.push_back(described(t));
  return token;
}

/// A generation under way.
struct TextWriter::Impl {
  Impl(TextSession::Impl& of, const GenerateOptions& o, const Tokenizer* tokenizer)
      : session(of),
        options(o),
        text(tokenizer, rules_of(of, o)),
        sampler(sampler_of(o, of.model->vocabulary())) {}

  static StopRules rules_of(const TextSession::Impl& of, const GenerateOptions& o) {
    StopRules rules{.tokens = o.tokens, .ids = o.stop_ids, .texts = o.stop};
    if (!o.ignore_eos) rules.ids.insert(rules.ids.end(), of.model->ends.begin(), of.model->ends.end());
    return rules;
  }
  /// Before the first token.
  void begin() {
    session.begin_document();
    session.rewind();
    decoder.emplace(session.session, sampler, std::vector<int64_t>{});
    for (int64_t recent : session.recent) decoder->accept(0, recent);
  }
  /// Draws a token and sets `token` and `piece`. False if the text has ended. The model's mutex is free when
  /// options.token hears of it.
  bool step() {
    if (text.ended()) return false;
    std::optional<LogProbabilities> p;
    {
      const std::lock_guard lock(session.model->mutex);
      if (!decoder) begin();
      token = *decoder->next([&] { return session.why_not_finite(); }).as<int64_t>();
      session.note({&token, 1});
      const View drawn_from = decoder->logits();
      if (options.token)
        p = log_probabilities({drawn_from.as<float>(), static_cast<size_t>(drawn_from.cols())}, token,
                              options.top_logprobs);
    }
    piece = text.push(token);
    if (p && text.end() != Continuation::End::kStopId) options.token(session.describe(*p));
    if (text.ended()) session.finish = finish_of(text);
    return true;
  }

  TextSession::Impl& session;
  GenerateOptions options;
  Continuation text;
  SamplerConfig sampler;
  std::optional<Decoder> decoder;
  int64_t token = 0;
  std::string piece;
};

void TextSession::Impl::decode(const GenerateOptions& o, const Tokenizer* tokenizer,
                               const std::function<bool(int64_t token, const std::string& piece)>& heard) {
  TextWriter::Impl writing(*this, o, tokenizer);
  if (writing.text.ended()) finish = finish_of(writing.text);
  while (writing.step()) {
    if (!heard(writing.token, writing.piece)) {
      finish = {.reason = "callback"};
      return;
    }
  }
}

TextWriter::TextWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TextWriter::TextWriter(TextWriter&&) noexcept = default;
TextWriter& TextWriter::operator=(TextWriter&&) noexcept = default;
TextWriter::~TextWriter() = default;

std::optional<std::string> TextWriter::next() {
  return guarded([&]() -> std::optional<std::string> {
    while (impl_->step()) {
      if (!impl_->piece.empty()) return impl_->piece;
    }
    return std::nullopt;
  });
}

TextWriter TextSession::writer(const GenerateOptions& options) {
  return guarded(
      [&] { return TextWriter(std::make_unique<TextWriter::Impl>(*impl_, options, &impl_->model->text())); });
}

TextSession::TextSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TextSession::TextSession(TextSession&&) noexcept = default;
TextSession& TextSession::operator=(TextSession&&) noexcept = default;
TextSession::~TextSession() = default;

TextSession LanguageModel::session() const {
  return guarded([&] { return TextSession(std::make_unique<TextSession::Impl>(impl_)); });
}

void TextSession::read(std::string_view text) {
  guarded([&] {
    const std::vector<int64_t> ids = impl_->model->text().encode(text);
    const std::lock_guard lock(impl_->model->mutex);
    impl_->feed(ids);
  });
}

void TextSession::read_tokens(std::span<const int64_t> tokens) {
  guarded([&] {
    const std::lock_guard lock(impl_->model->mutex);
    impl_->feed(tokens);
  });
}

int64_t TextSession::position() const {
  return impl_->session.position();
}

std::vector<float> TextSession::logits() {
  return guarded([&] {
    const std::lock_guard lock(impl_->model->mutex);
    Impl& i = *impl_;
    if (i.before_logits) return i.logits;
    if (!i.session.pending()) throw InputError("logits need at least one token: read() first");
    Impl::Snapshot before{.states = copy_of(i.session.states()), .pending = Buffer(Dtype::kI64, {1, 1})};
    copy(i.session.pending(), before.pending.view());
    const View logits = i.session.logits();
    i.logits.assign(logits.as<float>(), logits.as<float>() + logits.count());
    i.before_logits = std::move(before);
    return i.logits;
  });
}

std::string TextSession::write(const GenerateOptions& options,
                               const std::function<bool(std::string_view)>& piece) {
  return guarded([&] {
    std::string written;
    impl_->decode(options, &impl_->model->text(), [&](int64_t, const std::string& text) {
      written += text;
      return text.empty() || !piece || piece(text);
    });
    return written;
  });
}

std::vector<int64_t> TextSession::generate_tokens(const GenerateOptions& options,
                                                  const std::function<bool(int64_t token)>& piece) {
  return guarded([&] {
    if (!options.stop.empty()) throw InputError("stop strings need text; use generate(), or stop_ids");
    std::vector<int64_t> written;
    impl_->decode(options, nullptr, [&](int64_t token, const std::string&) {
      written.push_back(token);
      return !piece || piece(token);
    });
    return written;
  });
}

const Finish& TextSession::finish() const {
  return impl_->finish;
}

void TextSession::save(const std::string& path) const {
  guarded([&] {
    const std::lock_guard lock(impl_->model->mutex);
    impl_->rewind();
    save_session(path, impl_->model->hash(), impl_->session);
  });
}

void TextSession::load(const std::string& path) {
  guarded([&] {
    const std::lock_guard lock(impl_->model->mutex);
    load_session(path, impl_->model->hash(), impl_->session);
    impl_->before_logits.reset();
    impl_->recent.clear();
  });
}

TextSession TextSession::fork() const {
  return guarded([&] {
    const std::lock_guard lock(impl_->model->mutex);
    impl_->rewind();
    auto copy = std::make_unique<Impl>(impl_->model);
    copy->session.restore(impl_->session.states(), impl_->session.pending(), impl_->session.position());
    copy->recent = impl_->recent;
    return TextSession(std::move(copy));
  });
}

}  // namespace natrix
