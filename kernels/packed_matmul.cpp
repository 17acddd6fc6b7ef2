#include "kernels/packed_matmul.h"

#include <algorithm>

#include "kernels/base/dispatch.h"

namespace natrix {
namespace {

void check(const PackedMatmul& a) {
  require(static_cast<bool>(a.b), "packed_matmul: b is needed");
  check_matrix(a.a, a.c.dtype, a.c.rows(), a.b.cols, "packed_matmul: a");
  check_matrix(a.c, a.c.dtype, a.a.rows(), a.b.rows, "packed_matmul: c");
  require(a.c.data != a.a.data, "packed_matmul: c must not alias a");
  if (a.bias) check_dense(a.bias, a.c.dtype, {a.b.rows}, "packed_matmul: bias");
  if (a.offsets.empty()) return require(a.b.stack == 1, "packed_matmul: a stack needs offsets");
  require(!a.bias && static_cast<int64_t>(a.offsets.size()) == a.b.stack + 1 && a.offsets.front() == 0 &&
              a.offsets.back() == a.a.rows() && std::ranges::is_sorted(a.offsets),
          "packed_matmul: offsets must be G + 1 values that rise from 0 to the rows of a, without a bias");
}

}  // namespace

Cost cost(const PackedMatmul& a) {
  return {.flops = 2 * static_cast<double>(a.c.count() * a.b.cols),
          .bytes = bytes_of({a.a, a.c}) + static_cast<double>(a.b.stack * a.b.panels() * a.b.panel_bytes())};
}

void packed_matmul(Context& ctx, const PackedMatmul& args) {
  check(args);
  dispatch<PackedMatmul>(ctx, "packed_matmul", args,
                         {.reference = reference::packed_matmul, .cpu = cpu::packed_matmul});
}

}  // namespace natrix
