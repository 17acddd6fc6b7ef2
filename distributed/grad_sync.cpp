#include "distributed/grad_sync.h"

#include <algorithm>

namespace natrix {
namespace {

constexpr int64_t kBucket = int64_t{8} << 20, kPiece = int64_t{64} << 10;

struct Run {  // of gradients that lie side by side and are summed over the same ranks
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
    // Between neighbours lie the zeros that fill a cache line, or stand for what is not trained.
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

GradSync::GradSync(Communicator& everywhere, Communicator& expert_data, int64_t bucket)
    : everywhere_{everywhere, gradient_bucket(everywhere.size(), bucket)},
      expert_data_{expert_data, gradient_bucket(expert_data.size(), bucket)} {}

/// Buckets are counted from the beginning of a run, and the last is the shorter one.
void GradSync::Lane::add(char* begin, char* end, Dtype dtype) {
  for (char* at = begin; at < end; at += bucket) {
    const int64_t bytes = std::min<int64_t>(bucket, end - at);
    due.push_front(View(at, dtype, {bytes / size_of(dtype)}));
  }
}

void GradSync::Lane::move_on(Context& ctx, const void* complete_from) {
  std::erase_if(under_way, [](Pending& p) { return p.poll(); });
  while (!due.empty() && due.front().data >= complete_from && under_way.size() < kAtOnce) {
    under_way.push_back(axis.start_all_reduce(ctx, due.front(), Reduce::kSum));
    due.pop_front();
  }
}

void GradSync::begin(const std::vector<Param*>& params) {
  if (begun_) return;
  begun_ = true;
  for (const Run& run : runs_of(params)) {
    (run.spread ? expert_data_ : everywhere_).add(run.begin, run.end, run.dtype);
  }
}

void GradSync::done(Context& ctx, const std::vector<Param*>& params, size_t first) {
  begin(params);
  const auto complete = std::find_if(params.begin() + static_cast<std::ptrdiff_t>(first), params.end(),
                                     [](const Param* p) { return static_cast<bool>(p->grad); });
  if (complete == params.end()) return;
  for (Lane* lane : {&everywhere_, &expert_data_}) lane->move_on(ctx, (*complete)->grad.data);
}

void GradSync::finish(Context& ctx, const std::vector<Param*>& params) {
  begin(params);
  while (!everywhere_.ended() || !expert_data_.ended()) {
    for (Lane* lane : {&everywhere_, &expert_data_}) lane->move_on(ctx, nullptr);
    for (Lane* lane : {&everywhere_, &expert_data_}) {
      if (lane->under_way.empty()) continue;
      lane->under_way.front().wait();
      break;
    }
  }
  begun_ = false;
}

}  // namespace natrix
