#include "core/sequence/joint_reading.h"

#include <algorithm>

namespace natrix {

JointReading::JointReading(Model& model, Context& ctx, const Ranks& ranks, int64_t chunk)
    : carry_(ranks.carry),
      share_(ranks.share),
      fewest_(share_.fewest_tokens(model.carries())),
      chunk_(std::max(chunk, fewest_ / share_.cp)),
      joint_(model, ctx, ranks.carry.states(), no_gradients_, {.chunk = chunk_ + fewest_}),
      alone_(model, ctx, alone_route_, no_gradients_, {.chunk = chunk_}) {}

void JointReading::begin(int64_t length, const CarryStates* start) {
  together_ = can_share(length);
  CarryRoute& states = together_ ? carry_.states() : alone_route_;
  states.resume(start);
}

int64_t JointReading::next(int64_t left) const {
  const int64_t whole = chunk_ * reading_share().cp;
  return left < whole + (together_ ? fewest_ : 1) ? left : whole;
}

void JointReading::read(const Sequences& part, bool last, const std::function<void(View)>& visit) {
  schedule().read(
      part, [&](int64_t, View hidden) { visit(hidden); }, last);
}

void JointReading::pass_over(const Sequences& part, bool last) {
  schedule().pass_over(
      part, [](int64_t) {}, last);
}

void JointReading::observe(const PassObserver* observer) {
  joint_.observe(observer);
  alone_.observe(observer);
}

}  // namespace natrix
