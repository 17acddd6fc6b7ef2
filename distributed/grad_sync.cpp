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

int64_t gradient_bucket(int ranks) {
  return std::max(kBucket, ranks * kPiece);
}

void GradSync::run(Context& ctx, const std::vector<Param*>& params) {
  for (const Run& run : runs_of(params)) {
    Communicator& axis = run.spread ? expert_data_ : world_;
    const int64_t bucket = gradient_bucket(axis.size());
    for (char* at = run.begin; at < run.end; at += bucket) {
      const int64_t bytes = std::min<int64_t>(bucket, run.end - at);
      axis.all_reduce(ctx, View(at, run.dtype, {bytes / size_of(run.dtype)}), Reduce::kSum);
    }
  }
}

}  // namespace natrix
