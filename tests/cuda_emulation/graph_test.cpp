// Recorded work: done when it is launched and not before, on what then lies at its addresses, with the
// arguments that it was given.
#include <gtest/gtest.h>
#include <vector>

#include "cublas_v2.h"
#include "cuda_runtime.h"

namespace {

class CudaGraph : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(cudaMalloc(reinterpret_cast<void**>(&data_), 2 * sizeof(float)), cudaSuccess);
    ASSERT_EQ(cudaStreamCreate(&stream_), cudaSuccess);
    write({1, 10});
  }
  void TearDown() override {
    cudaGetLastError();
    cudaStreamDestroy(stream_);
    cudaFree(data_);
  }
  void write(const std::vector<float>& values) {
    ASSERT_EQ(cudaMemcpy(data_, values.data(), 2 * sizeof(float), cudaMemcpyHostToDevice), cudaSuccess);
  }
  std::vector<float> read() const {
    std::vector<float> values(2);
    EXPECT_EQ(cudaMemcpy(values.data(), data_, 2 * sizeof(float), cudaMemcpyDeviceToHost), cudaSuccess);
    return values;
  }
  void begin() { ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), cudaSuccess); }
  cudaGraphExec_t end() {
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
    cudaGraphExec_t ready = nullptr;
    EXPECT_EQ(cudaGraphInstantiate(&ready, graph, 0), cudaSuccess);
    cudaGraphDestroy(graph);
    return ready;
  }

  float* data_ = nullptr;
  cudaStream_t stream_ = nullptr;
};

__global__ void add(float* to, float amount) {
  if (threadIdx.x == 0) *to += amount;
}

cudaError_t start_add(cudaStream_t stream, float* to, float amount) {
  cudaLaunchConfig_t config;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, add, to, amount);
}

TEST_F(CudaGraph, RunsInOrderEachTimeItIsLaunched) {
  begin();
  for (float amount = 1; amount < 3; ++amount) ASSERT_EQ(start_add(stream_, data_, amount), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(data_ + 1, data_, sizeof(float), cudaMemcpyDeviceToDevice, stream_), cudaSuccess);
  const cudaGraphExec_t ready = end();
  EXPECT_EQ(read(), (std::vector<float>{1, 10})) << "nothing is done while it is recorded";
  const uint64_t before = cuda_emulation::graph_launches();
  ASSERT_EQ(cudaGraphLaunch(ready, stream_), cudaSuccess);
  EXPECT_EQ(read(), (std::vector<float>{4, 4}));
  write({100, 0});
  ASSERT_EQ(cudaGraphLaunch(ready, stream_), cudaSuccess);
  EXPECT_EQ(read(), (std::vector<float>{103, 103}));
  EXPECT_EQ(cuda_emulation::graph_launches() - before, 2u);
  cudaGraphExecDestroy(ready);
}

TEST_F(CudaGraph, ProductsKeepTheirFactorsAndReadTheirOperandsLate) {
  cublasHandle_t blas = nullptr;
  cublasCreate(&blas);
  cublasSetStream(blas, stream_);
  begin();
  float two = 2, none = 0;
  ASSERT_EQ(
      cublasGemmEx_64(blas, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &two, data_, CUDA_R_32F, 1, data_, CUDA_R_32F,
                      1, &none, data_ + 1, CUDA_R_32F, 1, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
      CUBLAS_STATUS_SUCCESS);
  two = 77;  // copied by then
  const cudaGraphExec_t ready = end();
  write({3, 0});
  ASSERT_EQ(cudaGraphLaunch(ready, stream_), cudaSuccess);
  EXPECT_EQ(read(), (std::vector<float>{3, 18}));
  cudaGraphExecDestroy(ready);
  cublasDestroy(blas);
}

TEST_F(CudaGraph, WhatAGraphCannotHoldEndsTheRecording) {
  void* memory = nullptr;
  float on_host = 0;
  const std::vector<std::function<cudaError_t()>> calls = {
      [&] { return cudaStreamSynchronize(stream_); },
      [&] { return cudaMallocAsync(&memory, 16, stream_); },
      [&] { return cudaMemcpy(&on_host, data_, sizeof on_host, cudaMemcpyDeviceToHost); },
      [&] { return cudaMemset(data_, 0, sizeof(float)); },
  };
  for (const auto& call : calls) {
    begin();
    EXPECT_EQ(call(), cudaErrorStreamCaptureUnsupported);
    EXPECT_NE(std::string(cudaGetErrorString(cudaGetLastError())).find("recorded"), std::string::npos);
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(graph, nullptr);
    cudaGetLastError();
  }
  begin();
  start_add(nullptr, data_, 1);  // another stream
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaErrorStreamCaptureInvalidated);
  cudaGetLastError();
  EXPECT_EQ(start_add(nullptr, data_, 1), cudaSuccess) << "and afterwards all is as before";
  EXPECT_EQ(read(), (std::vector<float>{2, 10}));
}

}  // namespace
