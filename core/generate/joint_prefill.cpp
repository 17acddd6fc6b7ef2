#include "core/generate/joint_prefill.h"

namespace natrix {
namespace {

/// [B, a] and [B, b] → [B, a + b]; either may be empty.
Buffer side_by_side(View a, View b) {
  const int64_t left = a ? a.cols() : 0, right = b ? b.cols() : 0;
  if (left + right == 0) return {};
  Buffer both(Dtype::kI64, {(a ? a : b).rows(), left + right});
  if (left > 0) copy(a, both.view().columns(0, left));
  if (right > 0) copy(b, both.view().columns(left, right));
  return both;
}

View columns_or_none(const Buffer& b, int64_t first, int64_t count) {
  return count > 0 ? b.view().columns(first, count) : View{};
}

}  // namespace

JointPrefill::JointPrefill(Session& session, Model& model, Context& ctx, const Ranks& ranks, int64_t chunk)
    : session_(session),
      ctx_(ctx),
      ranks_(ranks),
      reading_(model, ctx, ranks, chunk),
      waiting_(side_by_side(session.pending(), {})),
      position_(session.position()) {}

void JointPrefill::feed(View tokens, const Progress& progress) {
  if (ranks_.world.size() == 1) return session_.feed(tokens, progress);
  waiting_ = side_by_side(waiting_ ? waiting_.view() : View{}, tokens);
  position_ += tokens.cols();
  const auto left = [&] { return waiting_.view().cols() - 1; };
  if (!begun_ && !reading_.can_share(left())) return;
  if (!begun_) reading_.begin(left(), &session_.states());
  begun_ = true;
  // More tokens may follow, so what would be the last super-segment waits.
  for (int64_t n = reading_.next(left()); n < left(); n = reading_.next(left())) read(n, false, progress);
}

void JointPrefill::finish(const Progress& progress) {
  if (ranks_.world.size() == 1 || !waiting_) return;
  if (!begun_) {  // too few tokens to give each rank a slice
    if (ranks_.world.rank() == 0) {
      const View pending = session_.pending();
      const int64_t held = pending ? 1 : 0, rest = waiting_.view().cols() - held;
      if (rest > 0) session_.feed(waiting_.view().columns(held, rest), progress);
    }
    return;
  }
  read(waiting_.view().cols() - 1, true, progress);
  const CarryStates end = ranks_.carry.to_first(ctx_, ranks_.carry.states().end_states());
  if (ranks_.world.rank() == 0) session_.restore(end, waiting_.view(), position_);
}

void JointPrefill::read(int64_t count, bool last, const Progress& progress) {
  const RankShare::Stretch mine = reading_.part(0, count);
  Buffer tokens(Dtype::kI64, {waiting_.view().rows(), mine.count});
  copy(waiting_.view().columns(mine.first, mine.count), tokens.view());
  reading_.pass_over({.tokens = tokens.view(), .targets = {}, .doc_start = {}}, last);
  waiting_ = side_by_side(columns_or_none(waiting_, count, waiting_.view().cols() - count), {});
  progress(count);
}

}  // namespace natrix
