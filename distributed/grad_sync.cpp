#include "distributed/grad_sync.h"

#include <algorithm>

namespace natrix {
namespace {

constexpr int64_t kBucketBytes = int64_t{8} << 20;  // keeps the scratch of a reduction small

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

void GradSync::run(Context& ctx, const std::vector<Param*>& params) {
  for (const Run& run : runs_of(params)) {
    Communicator& axis = run.spread ? expert_data_ : world_;
    for (char* at = run.begin; at < run.end; at += kBucketBytes) {
      const int64_t bytes = std::min<int64_t>(kBucketBytes, run.end - at);
      axis.all_reduce(ctx, View(at, run.dtype, {bytes / size_of(run.dtype)}), Reduce::kSum);
    }
  }
}

}  // namespace natrix
