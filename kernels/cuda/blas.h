// Matrix products by cuBLAS. Inputs f32, or bf16 with f32 or bf16 results; sums are in f32 always.
//
// Math mode: cuBLAS's default, under which f32 products are f32 products (TF32 is an opt-in that nothing here
// takes, 1e-4 from the CPU would not survive it), and without partial sums in less than f32, which the
// default lets a bf16 product split over K use.
#pragma once

#include <cublas_v2.h>
#include <span>

#include "kernels/matmul.h"

namespace natrix::cuda {

cublasHandle_t blas_of(Context& ctx);
/// RunError naming `what` and the status.
void check_blas(cublasStatus_t status, const char* what);

/// c = op(a) op(b) [+ c], on the context's stream. Without a bias; rows, columns and terms at least one each.
void gemm(Context& ctx, const Matmul& product);

/// Products of one kind (transposition, accumulation, dtypes), each as gemm() takes them: one launch where
/// cuBLAS has a grouped kernel for these dtypes, else one each.
void grouped_gemm(Context& ctx, std::span<const Matmul> products);

/// chosen_matmul, with a matrix of at least one element. The device itself says where the matrices lie.
void chosen_gemm(Context& ctx, const ChosenMatmul& product);

}  // namespace natrix::cuda
