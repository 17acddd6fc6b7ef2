// Attention as its formulas say, one query after another. Storage is f32 or f64, arithmetic is in double.
#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace natrix::reference {
namespace {

using Doubles = std::vector<double>;

/// One head of one sequence of keys and values.
template <class T>
struct Head {
  const KeyValuePages& pages;
  int64_t batch, b, g;

  T& key(int64_t j, int64_t c) const {
    return pages.keys<T>(batch, b, g, j / kPageRows)[c * kPageRows + j % kPageRows];
  }
  T& value(int64_t j, int64_t c) const {
    return pages.values<T>(batch, b, g, j / kPageRows)[j % kPageRows * pages.padded_dim() + c];
  }
};

/// s_ij for the keys that a query sees.
template <class T>
Doubles scores(const T* q, const Head<T>& head, KeyRange keys, double scale) {
  Doubles s(static_cast<size_t>(keys.end - keys.begin), 0.0);
  for (int64_t j = keys.begin; j < keys.end; ++j) {
    double& s_j = s[static_cast<size_t>(j - keys.begin)];
    for (int64_t c = 0; c < head.pages.head_dim; ++c) {
      s_j += static_cast<double>(q[c]) * static_cast<double>(head.key(j, c));
    }
    s_j *= scale;
  }
  return s;
}

/// Calls body(head, h, row, t, keys) for every query head of every token.
template <class T, class Args, class Body>
void for_queries(const Args& a, const Body& body) {
  const int64_t batch = a.q.extent(0), tokens = a.q.extent(1), heads = a.q.cols() / a.history.head_dim;
  std::vector<KeyRange> visible(static_cast<size_t>(tokens));
  for (int64_t b = 0; b < batch; ++b) {
    find_visible(a, b, visible);
    for (int64_t h = 0; h < heads; ++h) {
      const Head<T> head{a.history, batch, b, h / (heads / a.history.heads)};
      for (int64_t t = 0; t < tokens; ++t) {
        body(head, h, b * tokens + t, t, visible[static_cast<size_t>(t)]);
      }
    }
  }
}

template <class T>
void forward(const AttentionForward& a) {
  const int64_t D = a.history.head_dim, tokens = a.q.extent(1), heads = a.q.cols() / D;
  for_queries<T>(a, [&](const Head<T>& head, int64_t h, int64_t row, int64_t t, KeyRange keys) {
    const Doubles s = scores(a.q.row<T>(row) + h * D, head, keys, a.scale);
    const double most = *std::max_element(s.begin(), s.end());
    double sum = 0;
    for (const double s_j : s) sum += std::exp(s_j - most);
    const double lse = most + std::log(sum);
    Doubles y(static_cast<size_t>(D), 0.0);
    for (int64_t j = keys.begin; j < keys.end; ++j) {
      const double p = std::exp(s[static_cast<size_t>(j - keys.begin)] - lse);
      for (int64_t c = 0; c < D; ++c) y[static_cast<size_t>(c)] += p * static_cast<double>(head.value(j, c));
    }
    for (int64_t c = 0; c < D; ++c) a.y.row<T>(row)[h * D + c] = static_cast<T>(y[static_cast<size_t>(c)]);
    if (a.lse) a.lse.as<T>()[(head.b * heads + h) * tokens + t] = static_cast<T>(lse);
  });
}

template <class T>
void backward(const AttentionBackward& a) {
  const int64_t D = a.history.head_dim, tokens = a.q.extent(1), heads = a.q.cols() / D;
  Doubles q(static_cast<size_t>(D)), dy(q), dq(q);
  for_queries<T>(a, [&](const Head<T>& head, int64_t h, int64_t row, int64_t t, KeyRange keys) {
    const Head<T> dhead{a.dhistory, head.batch, head.b, head.g};
    const Doubles s = scores(a.q.row<T>(row) + h * D, head, keys, a.scale);
    const auto lse = static_cast<double>(a.lse.as<T>()[(head.b * heads + h) * tokens + t]);
    double delta = 0;
    for (int64_t c = 0; c < D; ++c) {
      const auto i = static_cast<size_t>(c);
      q[i] = static_cast<double>(a.q.row<T>(row)[h * D + c]);
      dy[i] = static_cast<double>(a.dy.row<T>(row)[h * D + c]);
      delta += dy[i] * static_cast<double>(a.y.row<T>(row)[h * D + c]);
      dq[i] = 0;
    }
    for (int64_t j = keys.begin; j < keys.end; ++j) {
      const double p = std::exp(s[static_cast<size_t>(j - keys.begin)] - lse);
      double dp = 0;
      for (int64_t c = 0; c < D; ++c)
        dp += dy[static_cast<size_t>(c)] * static_cast<double>(head.value(j, c));
      const double ds = a.scale * p * (dp - delta);
      for (int64_t c = 0; c < D; ++c) {
        const auto i = static_cast<size_t>(c);
        dq[i] += ds * static_cast<double>(head.key(j, c));
        dhead.key(j, c) += static_cast<T>(ds * q[i]);
        dhead.value(j, c) += static_cast<T>(p * dy[i]);
      }
    }
    for (int64_t c = 0; c < D; ++c) a.dq.row<T>(row)[h * D + c] = static_cast<T>(dq[static_cast<size_t>(c)]);
  });
}

}  // namespace

void attention_forward(Context&, const AttentionForward& args) {
  for_float(args.q.dtype, [&](auto zero) { forward<decltype(zero)>(args); });
}

void attention_backward(Context&, const AttentionBackward& args) {
  for_float(args.q.dtype, [&](auto zero) { backward<decltype(zero)>(args); });
}

}  // namespace natrix::reference
