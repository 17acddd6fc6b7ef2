#include "kernels/loss.h"

#include "kernels/base/dispatch.h"

namespace natrix {
namespace {

void check(const CrossEntropy& a) {
  const int64_t rows = a.logits.rows(), vocabulary = a.logits.cols();
  check_matrix(a.logits, a.logits.dtype, rows, vocabulary, "cross_entropy: logits");
  require(vocabulary > 0, "cross_entropy: no classes");
  check_dense(a.targets, Dtype::kI64, {rows}, "cross_entropy: targets");
  check_dense(a.loss, Dtype::kF64, {rows}, "cross_entropy: loss");
  if (a.dlogits)
    check_matrix(a.dlogits, at_most(a.logits.dtype, a.dlogits), rows, vocabulary, "cross_entropy: dlogits");
  if (memory_of(a.targets.data) != Memory::kHost) return;  // reading them would wait for the device
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t target = a.targets.as<int64_t>()[r];
    require(kIgnoreTarget <= target && target < vocabulary, "cross_entropy: a target is not below V");
  }
}

}  // namespace

Cost cost(const CrossEntropy& a) {
  return {.exps = static_cast<double>(a.logits.count()),
          .bytes = bytes_of({a.logits, a.dlogits, a.targets, a.loss})};
}

void cross_entropy(Context& ctx, const CrossEntropy& args) {
  check(args);
  dispatch<CrossEntropy>(ctx, "cross_entropy", args,
                         {.reference = reference::cross_entropy,
                          .cpu = cpu::cross_entropy,
                          .cuda = if_cuda<cuda::cross_entropy>()});
}

}  // namespace natrix
