#include "core/layers/init.h"

#include <cmath>
#include <numbers>
#include <xxhash.h>

namespace natrix {
namespace {

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers on every platform, unlike <random>'s distributions.
class Generator {
 public:
  Generator(uint64_t seed, const std::string& name)
      : state_(XXH3_64bits_withSeed(name.data(), name.size(), seed)) {}

  double uniform() {  // [0, 1)
    state_ += 0x9E3779B97F4A7C15ull;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1.0p-53;
  }
  double uniform(double bound) { return bound * (2 * uniform() - 1); }
  double normal() {  // Box–Muller
    const double radius = std::sqrt(-2 * std::log1p(-uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }

 private:
  uint64_t state_;
};

double value_of(const Param& p, int64_t i, Generator& g, double residual_additions) {
  const auto fan_in = static_cast<double>(p.fan_in);
  switch (p.init) {
    case Init::kNormal: return 0.02 * g.normal();
    case Init::kZeros: return 0;
    case Init::kOnes: return 1;
    case Init::kUniform: return g.uniform(1 / std::sqrt(fan_in));
    case Init::kResidualOut: return g.uniform(1 / std::sqrt(fan_in * residual_additions));
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
    Generator g(seed, p->name);
    for_float(p->value.dtype, [&](auto zero) {
      auto* w = p->value.as<decltype(zero)>();
      for (int64_t i = 0; i < p->value.count(); ++i) {
        w[i] = static_cast<decltype(zero)>(value_of(*p, i, g, static_cast<double>(residual_additions)));
      }
    });
  }
}

}  // namespace natrix
