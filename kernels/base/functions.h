// Scalar functions for every backend that computes element by element: the reference backend in double, CUDA
// in float. kernels/cpu/vector_math-inl.h has the vector versions.
#pragma once

#include <cmath>

#ifdef __CUDACC__
#define NATRIX_HOST_DEVICE __host__ __device__
#else
#define NATRIX_HOST_DEVICE
#endif

namespace natrix {

template <class T>
NATRIX_HOST_DEVICE T sigmoid(T x) {
  return T{1} / (T{1} + std::exp(-x));
}

/// dsilu/dx = σ (1 + x (1 − σ))
template <class T>
NATRIX_HOST_DEVICE T silu_derivative(T x) {
  const T s = sigmoid(x);
  return s * (T{1} + x * (T{1} - s));
}

template <class T>
NATRIX_HOST_DEVICE T normal_cdf(T x) {
  return T{0.5} * std::erfc(-x * static_cast<T>(0.70710678118654752440));
}

template <class T>
NATRIX_HOST_DEVICE T normal_density(T x) {
  return std::exp(T{-0.5} * x * x) * static_cast<T>(0.39894228040143267794);
}

template <class T>
NATRIX_HOST_DEVICE T softplus(T x) {
  return x > T{20} ? x : std::log1p(std::exp(x));
}

/// The derivative from the value y = softplus(x): softplus'(x) = σ(x) = 1 − exp(−y).
template <class T>
NATRIX_HOST_DEVICE T softplus_derivative(T y) {
  return -std::expm1(-y);
}

}  // namespace natrix
