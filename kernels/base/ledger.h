// Ledger: the total cost of the kernels that a dry run called. In a context of backend kDry a kernel computes
// nothing: it checks its arguments and adds its cost to the context's ledger (kernels/base/dispatch.h).
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>

#include "kernels/base/view.h"

namespace natrix {

/// Kinds of work. The planner estimates the time of each kind separately.
enum class Work { kProducts, kExpertProducts, kScan, kMaps, kElements };
inline constexpr size_t kWorks = 5;

/// The cost of one or more kernel calls. Each kernel's header declares its cost(args).
struct Cost {
  Work work = Work::kElements;
  double flops = 0;       // of matrix products in f32 or f64; a multiply-add counts as 2
  double bf16_flops = 0;  // of matrix products in bf16
  double exps = 0;        // exponentials and functions that take as long
  double bytes = 0;       // bytes of operands and results, each counted once
  double launches = 1;    // kernel calls

  Cost& operator+=(const Cost& c) {
    flops += c.flops;
    bf16_flops += c.bf16_flops;
    exps += c.exps;
    bytes += c.bytes;
    launches += c.launches;
    return *this;
  }
};

/// The sum of the views' bytes. An empty view counts 0.
inline double bytes_of(std::initializer_list<View> views) {
  int64_t n = 0;
  for (const View& v : views) n += v ? v.bytes() : 0;
  return static_cast<double>(n);
}

class Ledger {
 public:
  Ledger() {
    for (size_t i = 0; i < kWorks; ++i) costs_[i] = {.work = static_cast<Work>(i), .launches = 0};
  }
  void add(const Cost& c) { costs_[static_cast<size_t>(c.work)] += c; }
  const Cost& of(Work work) const { return costs_[static_cast<size_t>(work)]; }
  /// The cost added since `earlier`, which is an older copy of this ledger.
  Ledger since(const Ledger& earlier) const {
    Ledger d;
    for (size_t i = 0; i < kWorks; ++i) {
      const Cost &a = costs_[i], &b = earlier.costs_[i];
      d.costs_[i] = {a.work,          a.flops - b.flops, a.bf16_flops - b.bf16_flops,
                     a.exps - b.exps, a.bytes - b.bytes, a.launches - b.launches};
    }
    return d;
  }

 private:
  std::array<Cost, kWorks> costs_;  // by Work
};

}  // namespace natrix
