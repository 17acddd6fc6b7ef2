#include "core/gguf/tensor_rule.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "kernels/base/check.h"

namespace natrix {
namespace {

using Form = TensorRule::Form;

[[noreturn]] void refuse(const Shape& shape, std::string_view expected) {
  throw InputError(fmt::format("is of shape {}; expected {}", shape.to_string(), expected));
}

Shape shape_of(const std::vector<int64_t>& extents) {
  Shape s;
  for (const int64_t extent : extents) s.push_back(extent);
  return s;
}

std::vector<int64_t> extents_of(const Shape& s) {
  std::vector<int64_t> extents;
  for (int i = 0; i < s.rank(); ++i) extents.push_back(s[i]);
  return extents;
}

/// f(row in HF, row in GGUF) for the rows of all heads.
template <class F>
void for_turned_rows(const TensorRule& rule, const Shape& hf, F&& f) {
  const int64_t rows = hf.rank() == 1 ? hf[0] : hf.rows(), channels = rows / rule.heads,
                half = rule.turning / 2;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t first = row / channels * channels, c = row % channels;
    f(row, c < rule.turning ? first + 2 * (c % half) + c / half : row);
  }
}

void turn(const TensorRule& rule, const Shape& hf, float* values, bool to_gguf) {
  const int64_t width = hf.rank() == 1 ? 1 : hf.cols();
  const std::vector<float> from(values, values + hf.count());
  for_turned_rows(rule, hf, [&](int64_t in_hf, int64_t in_gguf) {
    const int64_t source = to_gguf ? in_hf : in_gguf, target = to_gguf ? in_gguf : in_hf;
    std::copy_n(from.data() + source * width, width, values + target * width);
  });
}

template <class F>
void for_factors(const TensorRule& rule, const Shape& hf, float* values, F&& f) {
  const int64_t width = hf.rank() == 1 ? 1 : hf.cols();
  for (const RowFactor& part : rule.factors) {
    for (int64_t i = 0; i < part.rows * width; ++i, ++values)
      *values = f(*values, static_cast<float>(part.factor));
  }
}

/// Every row must have its factor.
void check_factors(const TensorRule& rule, const Shape& hf) {
  if (rule.factors.empty()) return;
  int64_t rows = 0;
  for (const RowFactor& part : rule.factors) rows += part.rows;
  if (hf.rank() < 1 || hf.rank() > 2 || rows != hf[0]) refuse(hf, fmt::format("{} rows", rows));
}

}  // namespace

bool TensorRule::keeps_values() const {
  return factors.empty() && form != Form::kDecay && form != Form::kDecayColumn && form != Form::kTurned;
}

Shape gguf_shape(const TensorRule& rule, const Shape& hf, int64_t experts) {
  check_factors(rule, hf);
  std::vector<int64_t> e = extents_of(hf);
  switch (rule.form) {
    case Form::kConv:
      if (e.size() != 3 || e[1] != 1) refuse(hf, "[channels, 1, taps]");
      return {e[0], e[2]};
    case Form::kColumn:
    case Form::kDecayColumn:
      if (e.size() != 1) refuse(hf, "one dimension");
      return {e[0], 1};
    case Form::kGroups:
      if (e.size() != 1 || e[0] % rule.groups != 0) refuse(hf, fmt::format("a multiple of {}", rule.groups));
      return {rule.groups, e[0] / rule.groups};
    case Form::kTurned:
      if (e.empty() || e.size() > 2 || e[0] % rule.heads != 0 || e[0] / rule.heads < rule.turning)
        refuse(hf, fmt::format("rows of {} heads", rule.heads));
      return hf;
    case Form::kExperts:
      if (e.size() != 2) refuse(hf, "a matrix");
      return {experts, e[0], e[1]};
    case Form::kGate:
    case Form::kUp:
      if (e.size() < 2 || e[e.size() - 2] % 2 != 0) refuse(hf, "an even number of rows");
      e[e.size() - 2] /= 2;
      return shape_of(e);
    case Form::kSame:
    case Form::kDecay: break;
  }
  return hf;
}

Shape hf_shape(const TensorRule& rule, const Shape& gguf) {
  check_factors(rule, gguf);
  std::vector<int64_t> e = extents_of(gguf);
  switch (rule.form) {
    case Form::kConv:
      if (e.size() != 2) refuse(gguf, "[channels, taps]");
      return {e[0], 1, e[1]};
    case Form::kColumn:
    case Form::kDecayColumn:
    case Form::kGroups: return {gguf.count()};
    case Form::kExperts:
      if (e.size() != 3) refuse(gguf, "[experts, rows, columns]");
      return {e[1], e[2]};
    case Form::kGate:
    case Form::kUp:
      if (e.size() < 2) refuse(gguf, "a matrix");
      e[e.size() - 2] *= 2;
      return shape_of(e);
    case Form::kTurned:
      if (e.empty() || e.size() > 2 || e[0] % rule.heads != 0 || e[0] / rule.heads < rule.turning)
        refuse(gguf, fmt::format("rows of {} heads", rule.heads));
      return gguf;
    case Form::kSame:
    case Form::kDecay: break;
  }
  return gguf;
}

std::vector<TensorRun> runs_of(const TensorRule& rule, const Shape& hf, int64_t expert) {
  const int64_t all = hf.count();
  if (rule.form == Form::kExperts) return {{.hf = 0, .gguf = expert * all, .count = all}};
  if (rule.form != Form::kGate && rule.form != Form::kUp) return {{.hf = 0, .gguf = 0, .count = all}};
  const int64_t half = hf[hf.rank() - 2] / 2 * hf.cols();
  std::vector<TensorRun> runs;
  for (int64_t first = 0; first < all; first += 2 * half) {
    runs.push_back({.hf = first + (rule.form == Form::kUp ? half : 0), .gguf = first / 2, .count = half});
  }
  return runs;
}

void to_gguf_values(const TensorRule& rule, const Shape& hf, float* values) {
  if (rule.form == Form::kDecay || rule.form == Form::kDecayColumn) {
    for (int64_t i = 0; i < hf.count(); ++i)
      values[i] = static_cast<float>(-std::exp(static_cast<double>(values[i])));
  }
  if (rule.form == Form::kTurned) turn(rule, hf, values, true);
  for_factors(rule, hf, values, [](float v, float factor) { return v * factor; });
}

void to_hf_values(const TensorRule& rule, const Shape& hf, float* values) {
  for_factors(rule, hf, values, [](float v, float factor) { return v / factor; });
  if (rule.form == Form::kTurned) turn(rule, hf, values, false);
  if (rule.form == Form::kDecay || rule.form == Form::kDecayColumn) {
    for (int64_t i = 0; i < hf.count(); ++i)
      values[i] = static_cast<float>(std::log(-static_cast<double>(values[i])));
  }
}

}  // namespace natrix
