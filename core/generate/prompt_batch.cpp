#include "core/generate/prompt_batch.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>

#include "core/carry/state_rows.h"
#include "core/sequence/diagnose.h"

namespace natrix {

PromptBatch::PromptBatch(Model& model, Context& ctx, std::span<PromptRow> rows,
                         const PromptBatchOptions& options, PromptBatchHooks hooks)
    : model_(model), ctx_(ctx), rows_(rows), options_(options), hooks_(std::move(hooks)) {
  require(options_.together > 0, "a batch has at least one prompt");
}

void PromptBatch::run() {
  while (true) {
    while (next_ < rows_.size() && std::ssize(active_) < options_.together) read(next_++);
    if (active_.empty() || !wanted_) return;
    join();
    // Rows that have ended run along until there are enough of them: taking the states apart costs as much as
    // a step of a small model.
    do {
      step();
    } while (wanted_ && running() * 4 > active_.size() * 3);
    leave();
  }
}

/// Reads a prompt by itself.
void PromptBatch::read(size_t row) {
  PromptRow& r = rows_[row];
  if (r.continuation.ended()) {  // nothing is wanted of it
    note_end(row);
    return;
  }
  const auto begin = std::chrono::steady_clock::now();
  for (const int64_t token : r.prompt) r.sampler.accept(token);
  Session session(model_, ctx_, 1, options_.chunk, /*records=*/false);
  if (const Session* prefix = options_.prefix)
    session.restore(prefix->states(), prefix->pending(), prefix->position());
  session.feed(View(r.prompt.data(), Dtype::kI64, {1, std::ssize(r.prompt)}));
  require(static_cast<bool>(session.pending()), "a prompt without tokens");
  active_.push_back({.row = row,
                     .states = complete_states(model_.carries(), session.states(), 1),
                     .pending = *session.pending().as<int64_t>()});
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  if (hooks_.read) hooks_.read(row, taken.count());
}

void PromptBatch::join() {
  std::vector<CarryStates> parts;
  Buffer pending(Dtype::kI64, {std::ssize(active_), 1});
  for (size_t i = 0; i < active_.size(); ++i) {
    parts.push_back(std::move(active_[i].states));
    active_[i].states.clear();
    pending.view().as<int64_t>()[i] = active_[i].pending;
  }
  const auto count = std::ssize(active_);
  batch_.emplace(model_, ctx_, count, options_.chunk);
  batch_->restore(join_sequences(parts), pending.view(), 0);
}

/// Lets the rows go that have ended, and takes the states of the others out of the batch.
void PromptBatch::leave() {
  std::vector<Active> left;
  for (size_t i = 0; i < active_.size(); ++i) {
    if (rows_[active_[i].row].continuation.ended()) continue;
    active_[i].states = sequence_of(batch_->states(), static_cast<int64_t>(i));
    left.push_back(std::move(active_[i]));
  }
  active_ = std::move(left);
  batch_.reset();
}

void PromptBatch::step() {
  const View logits = batch_->logits();
  Buffer tokens(Dtype::kI64, {std::ssize(active_), 1});
  for (size_t i = 0; i < active_.size(); ++i) {
    const size_t row = active_[i].row;
    PromptRow& r = rows_[row];
    if (!r.continuation.ended()) {
      active_[i].pending =
          draw(row, {logits.row<float>(static_cast<int64_t>(i)), static_cast<size_t>(logits.cols())});
      r.continuation.push(active_[i].pending);
      if (r.continuation.ended()) note_end(row);
    }
    tokens.view().as<int64_t>()[i] = active_[i].pending;
  }
  batch_->feed(tokens.view());
}

void PromptBatch::note_end(size_t row) {
  if (hooks_.ended && !hooks_.ended(row)) wanted_ = false;
}

int64_t PromptBatch::draw(size_t row, std::span<const float> logits) {
  PromptRow& r = rows_[row];
  try {
    const int64_t token = r.sampler.sample(logits);
    r.sampler.accept(token);
    if (hooks_.drawn) hooks_.drawn(row, logits, token);
    return token;
  } catch (const NonfiniteLogits&) {
    throw NonfiniteError(fmt::format("the logits of prompt {}, position {} are not finite{}", row + 1,
                                     position_of(r) - 1, hooks_.explain ? ": " + hooks_.explain(row) : ""));
  }
}

int64_t PromptBatch::position_of(const PromptRow& r) const {
  return (options_.prefix != nullptr ? options_.prefix->position() : 0) + std::ssize(r.prompt) +
         std::ssize(r.continuation.tokens());
}

size_t PromptBatch::running() const {
  return static_cast<size_t>(
      std::ranges::count_if(active_, [&](const Active& a) { return !rows_[a.row].continuation.ended(); }));
}

}  // namespace natrix
