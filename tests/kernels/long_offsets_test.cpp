// Rows that lie more than 2^31 elements from the first. The address space holds them, the memory does not
// need to: only the pages of the few rows that are there are ever touched.
#include <gtest/gtest.h>
#include <numeric>
#include <sys/mman.h>

#include "tests/kernels/conv_case.h"
#include "tests/kernels/scan_case.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

// Past the first tile of the scan and the first time block of the convolution: their offsets are long too.
constexpr int64_t kTokens = 260;
// 64 MiB of f32: rows from 128 on begin past element 2^31.
constexpr int64_t kRowStride = (int64_t{1} << 24) + 64;

/// f32 rows [1, kTokens, cols] far apart, in memory that reads as zero until written.
class FarRows {
 public:
  explicit FarRows(int64_t cols) : cols_(cols), memory_(map()) {}
  ~FarRows() {
    if (mapped()) munmap(memory_, kBytes);
  }
  FarRows(const FarRows&) = delete;
  FarRows& operator=(const FarRows&) = delete;

  bool mapped() const { return memory_ != MAP_FAILED; }
  View view() const { return {memory_, Dtype::kF32, {1, kTokens, cols_}, kRowStride}; }

 private:
  static constexpr size_t kBytes = static_cast<size_t>(kTokens) * kRowStride * sizeof(float);
  static void* map() {
    return mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  int64_t cols_;
  void* memory_;
};

/// The same views, but those by token in far rows; `fill` copies their contents over.
class FarViews {
 public:
  FarViews(Views near, std::initializer_list<const char*> by_token, bool fill) : views_(near) {
    for (const char* name : by_token) {
      rows_.push_back(std::make_unique<FarRows>(near[name].cols()));
      if (!rows_.back()->mapped()) return;
      if (fill) copy(near[name], rows_.back()->view());
      views_.put(name, rows_.back()->view());
    }
  }
  bool mapped() const { return rows_.back()->mapped(); }
  const Views& views() const { return views_; }

 private:
  std::vector<std::unique_ptr<FarRows>> rows_;
  Views views_;
};

class LongOffsets : public ::testing::TestWithParam<Backend> {
 protected:
  Random random;
  Context ctx{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Backends, LongOffsets, ::testing::ValuesIn(backends()),
                         [](const auto& backend) { return name_of(backend.param); });

TEST(LongOffsetsCuda, CopiesReachRowsBeyondAnyPitch) {
  if (!has_cuda()) GTEST_SKIP() << "no device";
  constexpr int64_t kApart = int64_t{1} << 31;  // one more than cudaMemcpy2D takes
  void* memory = mmap(nullptr, size_t{2} << 31, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) GTEST_SKIP() << "no address space for rows 2 GiB apart";
  const View far(memory, Dtype::kU8, {2, 3}, kApart);
  const Buffer there(Dtype::kU8, {2, 3}, Memory::kDevice), back(Dtype::kU8, {2, 3});
  for (int64_t r = 0; r < 2; ++r) std::iota(far.row<uint8_t>(r), far.row<uint8_t>(r) + 3, 1 + 3 * r);
  copy(far, there.view());
  copy(there.view(), back.view());
  for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(back.view().as<uint8_t>()[i], i + 1);
  munmap(memory, size_t{2} << 31);
}

TEST_P(LongOffsets, Scan) {
  const ScanCase c = ScanCase::fresh(random, Dtype::kF32, {1, kTokens, 20, 4});
  Buffers out = c.outputs(), gradients = c.gradients();
  const FarViews in(Views(c.in), {"x", "dt", "B", "C", "dy"}, true), to(Views(out), {"y"}, false);
  const FarViews dto(Views(gradients), {"x", "dt", "B", "C"}, false);
  if (!in.mapped() || !to.mapped() || !dto.mapped()) GTEST_SKIP() << "no address space for rows 64 MiB apart";
  scan_forward(ctx, scan_forward_args(in.views(), c.doc_start.view(), to.views()));
  scan_backward_alone(ctx, scan_backward_args(in.views(), c.doc_start.view(), dto.views()));
  expect_same_bits(to.views(), Views(run_forward(ctx, c)), "seed " + std::to_string(random.seed()));
  expect_same_bits(dto.views(), Views(run_backward(ctx, c)), "seed " + std::to_string(random.seed()));
}

TEST_P(LongOffsets, Conv) {
  const ConvCase c = ConvCase::fresh(random, Dtype::kF32, {1, kTokens, 20, 4});
  Buffers out = c.outputs(), gradients = c.gradients();
  const FarViews in(Views(c.in), {"x", "dy"}, true), to(Views(out), {"y"}, false);
  const FarViews dto(Views(gradients), {"x"}, false);
  if (!in.mapped() || !to.mapped() || !dto.mapped()) GTEST_SKIP() << "no address space for rows 64 MiB apart";
  conv_silu_forward(ctx, conv_forward_args(in.views(), c.doc_start.view(), to.views()));
  conv_silu_backward(ctx, conv_backward_args(in.views(), c.doc_start.view(), dto.views()));
  expect_same_bits(to.views(), Views(run_forward(ctx, c)), "seed " + std::to_string(random.seed()));
  expect_same_bits(dto.views(), Views(run_backward(ctx, c)), "seed " + std::to_string(random.seed()));
}

}  // namespace
}  // namespace natrix::test
