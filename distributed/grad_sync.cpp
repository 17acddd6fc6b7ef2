#include "distributed/grad_sync.h"

#include <algorithm>

namespace natrix {
namespace {

constexpr int64_t kBucket = int64_t{8} << 20, kPiece = int64_t{64} << 10;

struct Run {  // adjacent gradients that are summed over the same ranks
  bool spread;
  char *begin, *end;
  Dtype dtype;
};

std::vector<Run> runs_of(const std::vector<Param*>& params) {
  std::vector<Run> runs;
  for (const Param* p : params) {
    if (!p->grad) continue;
    char* begin = static_cast<char*>(p->grad.data);
    char* end = begin + p->grad.bytes();
    const bool spread = p->spread_of > 0;
    // The gaps between neighbours hold zeros: padding to a cache line, or parameters that are not trained.
    if (!runs.empty() && runs.back().spread == spread && runs.back().end <= begin) {
      runs.back().end = end;
    } else {
      runs.push_back({spread, begin, end, p->grad.dtype});
    }
  }
  return runs;
}

}  // namespace

int64_t gradient_bucket(int ranks, int64_t asked) {
  constexpr int64_t kLine = 64;  // no element is cut in two
  return asked > 0 ? std::max(asked / kLine, int64_t{1}) * kLine : std::max(kBucket, ranks * kPiece);
}

int64_t buckets_at_once(int64_t bucket) {
  constexpr int64_t kMost = 4, kMemory = kMost * kBucket;
  return std::clamp<int64_t>(kMemory / bucket, 1, kMost);
}

GradSync::GradSync(Communicator& everywhere, Communicator& expert_data, int64_t bucket, bool shares)
    : everywhere_{everywhere, gradient_bucket(everywhere.size(), bucket)},
      expert_data_{expert_data, gradient_bucket(expert_data.size(), bucket)},
      shares_(shares) {}

/// Buckets are counted from the beginning of a run; the last one may be shorter.
void GradSync::Lane::add(char* begin, char* end, Dtype dtype) {
  for (char* at = begin; at < end; at += bucket) {
    const int64_t bytes = std::min<int64_t>(bucket, end - at);
    due.push_front(View(at, dtype, {bytes / size_of(dtype)}));
  }
}

void GradSync::begin(const std::vector<Param*>& params) {
  if (begun_) return;
  begun_ = true;
  for (const Run& run : runs_of(params)) {
    (run.spread ? expert_data_ : everywhere_).add(run.begin, run.end, run.dtype);
  }
}

Pending GradSync::start_sum(Context& ctx, const Lane& lane, View bucket) const {
  if (shares_) return lane.axis.start_reduce_scatter(ctx, bucket, lane.mine(bucket), Reduce::kSum);
  return lane.axis.start_all_reduce(ctx, bucket, Reduce::kSum);
}

void GradSync::move_on(Lane& lane, const void* complete_from, const Start& start) {
  std::erase_if(lane.under_way, [](Pending& p) { return p.poll(); });
  while (!lane.due.empty() && lane.due.front().data >= complete_from &&
         std::ssize(lane.under_way) < buckets_at_once(lane.bucket)) {
    lane.under_way.push_back(start(lane, lane.due.front()));
    lane.due.pop_front();
  }
}

void GradSync::done(Context& ctx, const std::vector<Param*>& params, size_t first) {
  begin(params);
  const auto complete = std::find_if(params.begin() + static_cast<std::ptrdiff_t>(first), params.end(),
                                     [](const Param* p) { return static_cast<bool>(p->grad); });
  if (complete == params.end()) return;
  for (Lane* lane : lanes()) {
    move_on(*lane, (*complete)->grad.data, [&](const Lane& l, View b) { return start_sum(ctx, l, b); });
  }
}

void GradSync::finish(const Start& start) {
  while (!everywhere_.ended() || !expert_data_.ended()) {
    for (Lane* lane : lanes()) move_on(*lane, nullptr, start);
    for (Lane* lane : lanes()) {
      if (lane->under_way.empty()) continue;
      lane->under_way.front().wait();
      break;
    }
  }
  begun_ = false;
}

void GradSync::finish(Context& ctx, const std::vector<Param*>& params) {
  begin(params);
  finish([&](const Lane& lane, View bucket) { return start_sum(ctx, lane, bucket); });
}

std::vector<View> GradSync::shares(const std::vector<Param*>& params) const {
  std::vector<View> mine;
  for (const Run& run : runs_of(params)) {
    Lane lane{(run.spread ? expert_data_ : everywhere_).axis,
              (run.spread ? expert_data_ : everywhere_).bucket};
    lane.add(run.begin, run.end, run.dtype);
    for (auto bucket = lane.due.rbegin(); bucket != lane.due.rend(); ++bucket) {
      if (const View v = lane.mine(*bucket); v.count() > 0) mine.push_back(v);
    }
  }
  return mine;
}

/// Values have the layout of gradients (ParamStore). Untrained values between them are equal on all ranks.
void GradSync::gather_values(Context& ctx, const std::vector<Param*>& params) {
  const auto trained =
      std::find_if(params.begin(), params.end(), [](const Param* p) { return static_cast<bool>(p->grad); });
  if (trained == params.end()) return;
  const auto* gradients = static_cast<const char*>((*trained)->grad.data);
  auto* values = static_cast<char*>((*trained)->value.data);
  begin(params);
  finish([&](const Lane& lane, View bucket) {
    const View whole(values + (static_cast<const char*>(bucket.data) - gradients), bucket.dtype,
                     bucket.shape);
    return lane.axis.start_all_gather(ctx, lane.mine(whole), whole);
  });
}

}  // namespace natrix
