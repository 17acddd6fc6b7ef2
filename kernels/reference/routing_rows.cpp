// Moves rows to the experts and back. The permutation is a stable counting sort. The other functions sum over
// the rows of a token, in double.
#include <algorithm>
#include <vector>

#include "kernels/routing.h"

namespace natrix::reference {
namespace {

constexpr int64_t kDropped = -1;

template <class T>
void gather(const GatherRows& a) {
  const int64_t* slot_of_row = a.slot_of_row.as<int64_t>();
  for (int64_t r = 0; r < a.rows.rows(); ++r) {
    std::copy_n(a.x.row<T>(slot_of_row[r] / a.top_k), a.x.cols(), a.rows.row<T>(r));
  }
}

/// y[t] (=, +=) Σ_j weight[t, j] · rows[row_of_slot[t, j]]. Without weight, weights are one. Without
/// row_of_slot, rows are in the order of slots.
template <class T>
void sum_rows(View rows, View row_of_slot, View weight, View y, bool accumulate) {
  const int64_t top_k = (row_of_slot ? row_of_slot : weight).cols();
  for (int64_t t = 0; t < y.rows(); ++t) {
    for (int64_t d = 0; d < y.cols(); ++d) {
      double sum = accumulate ? y.row<T>(t)[d] : 0;
      for (int64_t j = 0; j < top_k; ++j) {
        const int64_t row = row_of_slot ? row_of_slot.row<int64_t>(t)[j] : t * top_k + j;
        if (row == kDropped) continue;
        sum += (weight ? weight.row<T>(t)[j] : 1.0) * rows.row<T>(row)[d];
      }
      y.row<T>(t)[d] = static_cast<T>(sum);
    }
  }
}

template <class T>
void combine_backward(const CombineRowsBackward& a) {
  for (int64_t t = 0; t < a.dy.rows(); ++t) {
    const T *dy = a.dy.row<T>(t), *weight = a.weight.row<T>(t);
    for (int64_t j = 0; j < a.row_of_slot.cols(); ++j) {
      const int64_t r = a.row_of_slot.row<int64_t>(t)[j];
      if (r == kDropped) {
        a.dweight.row<T>(t)[j] = 0;
        continue;
      }
      const T* row = a.rows.row<T>(r);
      T* drow = a.drows.row<T>(r);
      double dot = 0;
      for (int64_t d = 0; d < a.dy.cols(); ++d) {
        dot +=
            static_cast<double>(row[d]) * dy[d];  // before drow[d] is written: they may be the same element
        drow[d] = weight[j] * dy[d];
      }
      a.dweight.row<T>(t)[j] = static_cast<T>(dot);
    }
  }
}

}  // namespace

void route_permutation(Context&, const RoutePermutation& a) {
  const auto experts = static_cast<int64_t>(a.offsets.size()) - 1;
  const int64_t slots = a.expert.count();
  const int32_t* expert = a.expert.as<int32_t>();
  std::vector<int64_t> kept(static_cast<size_t>(experts));
  const auto full = [&](size_t e) { return a.capacity >= 0 && kept[e] == a.capacity; };

  for (int64_t s = 0; s < slots; ++s) {
    require(0 <= expert[s] && expert[s] < experts, "route_permutation: an expert's number is out of range");
    const auto e = static_cast<size_t>(expert[s]);
    if (!full(e)) ++kept[e];
  }
  a.offsets[0] = 0;
  for (size_t e = 0; e < kept.size(); ++e) a.offsets[e + 1] = a.offsets[e] + kept[e];

  std::fill(kept.begin(), kept.end(), 0);
  for (int64_t s = 0; s < slots; ++s) {
    const auto e = static_cast<size_t>(expert[s]);
    const int64_t row = full(e) ? kDropped : a.offsets[e] + kept[e]++;
    a.row_of_slot.as<int64_t>()[s] = row;
    if (row != kDropped) a.slot_of_row.as<int64_t>()[row] = s;
  }
}

void gather_rows(Context&, const GatherRows& a) {
  for_float(a.x.dtype, [&](auto zero) { gather<decltype(zero)>(a); });
}

void gather_rows_backward(Context&, const GatherRowsBackward& a) {
  for_float(a.dx.dtype, [&](auto zero) {
    sum_rows<decltype(zero)>(a.drows, a.row_of_slot, /*weight=*/{}, a.dx, a.accumulate);
  });
}

void combine_rows(Context&, const CombineRows& a) {
  for_float(a.y.dtype,
            [&](auto zero) { sum_rows<decltype(zero)>(a.rows, a.row_of_slot, a.weight, a.y, a.accumulate); });
}

void combine_rows_backward(Context&, const CombineRowsBackward& a) {
  for_float(a.dy.dtype, [&](auto zero) { combine_backward<decltype(zero)>(a); });
}

}  // namespace natrix::reference
