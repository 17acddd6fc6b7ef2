// Ledger: what the kernels of a dry run would do. A context of backend dry computes nothing: each kernel
// checks its arguments and adds its cost here (kernels/base/dispatch.h).
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>

#include "kernels/base/view.h"

namespace natrix {

/// Sorts of work, each with a time of its own on a machine.
enum class Work { kProducts, kExpertProducts, kScan, kMaps, kElements };
inline constexpr size_t kWorks = 5;

/// Of one call of a kernel, or of many. The contract of each kernel has a cost(args) beside it.
struct Cost {
  Work work = Work::kElements;
  double flops = 0;       // of products in f32 (or f64): a multiplication and an addition are two
  double bf16_flops = 0;  // of products in bf16
  double exps = 0;        // exponentials, or what takes as long
  double bytes = 0;       // operands read and results written, each once
  double launches = 1;    // calls

  Cost& operator+=(const Cost& c) {
    flops += c.flops;
    bf16_flops += c.bf16_flops;
    exps += c.exps;
    bytes += c.bytes;
    launches += c.launches;
    return *this;
  }
};

/// Bytes of these views together; an empty one has none.
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
  /// What was added since `earlier` was a copy of this.
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
