#include "core/sequence/revolve.h"

#include <algorithm>
#include <limits>

namespace natrix {
namespace {

/// The number of segments before the next boundary to keep. Among Griewank and Walther's optimal choices this
/// is the largest number of segments after the boundary.
int64_t optimal_split(int64_t length, int64_t slots) {
  int64_t t = 1;
  while (reversible_length(slots, t) < length) ++t;
  const int64_t right =
      std::max(reversible_length(slots - 1, t - 1), length - reversible_length(slots, t - 1));
  return std::clamp<int64_t>(length - right, 1, length - 1);
}

}  // namespace

int64_t reversible_length(int64_t slots, int64_t repeats) {
  if (slots < 0 || repeats < 0) return 0;
  const int64_t states = slots + 1;  // Griewank and Walther count the first boundary, too
  int64_t n = 1;                     // C(states + repeats, repeats); each division is exact
  for (int64_t i = 1; i <= std::min(states, repeats); ++i) {
    if (__builtin_mul_overflow(n, std::max(states, repeats) + i, &n))
      return std::numeric_limits<int64_t>::max();
    n /= i;
  }
  return n;
}

std::vector<int64_t> boundaries_to_keep(int64_t first, int64_t last, int64_t slots) {
  std::vector<int64_t> keep;
  for (; slots > 0 && last - first > 1; --slots) {
    first += optimal_split(last - first, slots);
    keep.push_back(first);
  }
  return keep;
}

}  // namespace natrix
