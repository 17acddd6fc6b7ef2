// Matrix products by cuBLAS. Inputs are f32, or bf16 with f32 or bf16 results. Sums are always in f32.
//
// Math mode: cuBLAS's default, which computes f32 products in f32. TF32 is opt-in and not used here: the
// tolerance of 1e-4 against the CPU would not hold. Partial sums in less than f32, which the default allows
// for a bf16 product split over K, are disabled.
#pragma once

#include <cublas_v2.h>
#include <span>

#include "kernels/matmul.h"

namespace natrix::cuda {

cublasHandle_t blas_of(Context& ctx);
/// Throws RunError naming `what` and the status.
void check_blas(cublasStatus_t status, const char* what);

/// c = op(a) op(b) [+ c], on the context's stream. Ignores bias. At least one row, one column and one term.
void gemm(Context& ctx, const Matmul& product);

/// Several products, each as for gemm(), with equal transposition, accumulation and dtypes. One launch where
/// cuBLAS has a grouped kernel for these dtypes, otherwise one launch each.
void grouped_gemm(Context& ctx, std::span<const Matmul> products);

/// chosen_matmul for matrices of at least one element. The device computes the addresses of the matrices.
void chosen_gemm(Context& ctx, const ChosenMatmul& product);

}  // namespace natrix::cuda
