#include "core/sequence/sweep_order.h"

#include <algorithm>

#include "core/sequence/revolve.h"

namespace natrix {

using Entry = SegmentRun::Entry;

void SweepOrder::survey(bool record_last) {
  for (int64_t s = 0; s < segments_; ++s) {
    const bool last = s == segments_ - 1;
    if (s == 1) keep_boundaries(0, record_last ? segments_ - 1 : segments_);
    const SegmentRun run{.segment = s, .entry = s == 0 ? Entry::kStart : Entry::kAfterStart, .last = last};
    recorded_ = record_last && last;
    recorded_ ? runner_.record(run) : pass_over(run);
  }
}

void SweepOrder::retrace() {
  int64_t last = segments_;
  if (recorded_) runner_.backward(--last, /*first=*/true);
  for (int64_t s = last - 1; s >= 0; --s) {
    const bool held = !held_.empty() && held_.back() == s;
    SegmentRun run{.segment = s, .entry = Entry::kReplay, .visit = Visit::kAgain, .last = true};
    if (!held) {
      const bool from_boundary = !held_.empty();
      const int64_t from = from_boundary ? held_.back() : 0;
      advance(s);
      if (from_boundary) {
        run.entry = Entry::kAfterBoundary;  // a boundary of its own would be held
      } else {
        run.entry = s == from ? Entry::kStart : Entry::kAfterStart;
      }
    }
    runner_.record(run);
    runner_.backward(s, s == segments_ - 1);
    if (held) {
      held_.pop_back();
      runner_.drop_boundary();
    }
    ++recomputed_;
  }
}

/// Runs forward from the nearest held boundary up to boundary `last`, keeping boundaries on the way where
/// they fit.
void SweepOrder::advance(int64_t last) {
  const bool from_start = held_.empty();
  const int64_t from = from_start ? 0 : held_.back();
  keep_boundaries(from, last + 1);
  for (int64_t s = from; s < last; ++s) {
    const Entry first = from_start ? Entry::kStart : Entry::kBoundary;
    const Entry after = from_start ? Entry::kAfterStart : Entry::kAfterBoundary;
    pass_over({.segment = s, .entry = s == from ? first : after, .visit = Visit::kAgain});
    ++recomputed_;
  }
}

void SweepOrder::truncated(Visit visit) {
  for (int64_t s = 0; s < segments_; ++s) {
    runner_.record({.segment = s,
                    .entry = s == 0 ? Entry::kStart : Entry::kAfterStart,
                    .visit = visit,
                    .last = s == segments_ - 1});
    runner_.backward(s, /*first=*/true);
  }
}

void SweepOrder::keep_boundaries(int64_t first, int64_t last) {
  keep_ = boundaries_to_keep(first, last, slots_ - static_cast<int64_t>(held_.size()));
}

void SweepOrder::pass_over(const SegmentRun& run) {
  const bool kept = std::binary_search(keep_.begin(), keep_.end(), run.segment);
  if (kept) held_.push_back(run.segment);
  runner_.pass_over(run, kept);
}

}  // namespace natrix
