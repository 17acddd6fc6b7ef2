#include "core/layers/init.h"

#include <algorithm>
#include <cmath>
#include <xxhash.h>

#include "core/files/random.h"
#include "kernels/base/transfer.h"

namespace natrix {
namespace {

double symmetric(SplitMix64& g, double bound) {
  return bound * (2 * g.uniform() - 1);
}

double value_of(const Param& p, int64_t i, SplitMix64& g, double residual_additions) {
  const auto fan_in = static_cast<double>(p.fan_in);
  switch (p.init) {
    case Init::kNormal: return 0.02 * g.normal();
    case Init::kZeros: return 0;
    case Init::kOnes: return 1;
    case Init::kUniform: return symmetric(g, 1 / std::sqrt(fan_in));
    case Init::kResidualOut: return symmetric(g, 1 / std::sqrt(fan_in * residual_additions));
    case Init::kDtBias: {
      const double dt =
          std::max(std::exp(std::log(1e-3) + g.uniform() * (std::log(1e-1) - std::log(1e-3))), 1e-4);
      return dt + std::log(-std::expm1(-dt));  // softplus⁻¹
    }
    case Init::kALog: return std::log(static_cast<double>(i % p.shape.cols() + 1));
  }
  contract_broken("unknown initialisation", std::source_location::current());
}

}  // namespace

void initialise(const std::vector<Param*>& params, uint64_t seed, int64_t residual_additions) {
  for (Param* p : params) {
    SplitMix64 g(XXH3_64bits_withSeed(p->name.data(), p->name.size(), seed));
    if (p->spread_of > 0) {  // this rank's share of the same numbers
      require(p->init == Init::kUniform || p->init == Init::kResidualOut,
              "a spread parameter draws once an element");
      g.skip(static_cast<uint64_t>(p->spread_first * (p->shape.count() / p->shape[0])));
    }
    write_from_host(p->value, [&](View value) {
      for_float(value.dtype, [&](auto zero) {
        auto* w = value.as<decltype(zero)>();
        for (int64_t i = 0; i < value.count(); ++i) {
          w[i] = static_cast<decltype(zero)>(value_of(*p, i, g, static_cast<double>(residual_additions)));
        }
      });
    });
    refresh_rounded(*p);
  }
}

}  // namespace natrix
