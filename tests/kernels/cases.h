// What kernel tests share: fresh random operands, comparison with a tolerance that comes from norms and
// epsilon, and gradients by central differences in double.
#pragma once

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/base/context.h"

namespace natrix::test {

/// A generator seeded freshly for every run; a failing test prints the seed, NATRIX_TEST_SEED=… repeats it.
class Random {
 public:
  Random();
  uint64_t seed() const { return seed_; }
  double uniform(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(engine_);
  }
  double normal() { return std::normal_distribution<double>()(engine_); }
  int64_t integer(int64_t low, int64_t high) {  // inclusive
    return std::uniform_int_distribution<int64_t>(low, high)(engine_);
  }
  Buffer normal(Dtype dtype, Shape shape, double scale = 1.0);
  Buffer uniform(Dtype dtype, Shape shape, double low, double high);
  Buffer document_starts(int64_t batch, int64_t tokens, double probability);  // [B, T] u8

 private:
  uint64_t seed_;
  std::mt19937_64 engine_;
};

/// Whether backend cuda is built and finds a device. Says on stderr why it is built and not tested.
bool has_cuda();
/// reference and cpu, and cuda where it can be tested.
std::vector<Backend> backends();

/// An owned copy in another dtype (f32, f64, bf16), contiguous.
Buffer as(Dtype dtype, View v);
/// f32 by hand.
Buffer floats(Shape shape, const std::vector<float>& values);
std::vector<float> floats_of(View v);
/// A buffer filled with NaN, to show that a kernel writes every element of its output.
Buffer poisoned(Dtype dtype, Shape shape);

/// max |got − want| / max |want|, wherever they lie; infinite if a NaN is found on either side. Dtypes may
/// differ.
double relative_difference(View got, View want);

/// A bound on the relative difference of an f32 sum of `terms` products against the exact one: the
/// probabilistic γ̃_n (√n) of Higham, Accuracy and Stability of Numerical Algorithms, §3.1, with a constant
/// for the functions (exp, …) in between.
double f32_tolerance(int64_t terms, double constant = 8.0);

/// The same for a kernel whose activations are bf16, against the exact result of the very operands it was
/// given, already rounded: it computes in f32 and rounds what it stores as bf16, once, by at most half a unit
/// in the last of 8 places, 2^-8 of the result.
double bf16_tolerance(Dtype stored, int64_t terms);

/// Central differences of `loss` in the f64 elements of `x` against `dx` (at most `samples` elements, spread
/// evenly): the worst |fd − dx| / (|fd| + max |dx|).
double finite_difference_error(View x, View dx, const std::function<double()>& loss, int64_t samples = 60,
                               double step = 1e-5);

/// Σ a ⊙ b in double: a loss whose gradient in a is b.
double dot(View a, View b);

/// max |element|.
double largest(View v);

/// Channel and length extents that break vector loops: 1, primes, one off a vector width.
const std::vector<int64_t>& awkward_sizes();

}  // namespace natrix::test
