#include "core/carry/row_store.h"

#include <gtest/gtest.h>

#include "kernels/base/buffer.h"

namespace natrix::test {
namespace {

constexpr RowFormat kStoreFormat{.dtype = Dtype::kF32, .heads = 2, .head_dim = 3};
constexpr int64_t kRowBatch = 2;

/// Rows [B, count, width] whose numbers name the branch, the token, the row of the batch and the channel.
Buffer rows_of_branch(int64_t branch, int64_t first, int64_t count) {
  Buffer rows(kStoreFormat.dtype, {kRowBatch, count, kStoreFormat.width()});
  auto* x = rows.view().as<float>();
  for (int64_t b = 0; b < kRowBatch; ++b) {
    for (int64_t t = 0; t < count; ++t) {
      for (int64_t c = 0; c < kStoreFormat.width(); ++c)
        *x++ = static_cast<float>(100000 * branch + 100 * (first + t) + 50 * b + c + 1);
    }
  }
  return rows;
}

class RowStoreTest : public ::testing::Test {
 protected:
  RowStore store() const { return {kStoreFormat, kRowBatch, Memory::kHost}; }
  void write(RowStore& s, int64_t branch, int64_t first, int64_t count) {
    s.write(ctx_, first, rows_of_branch(branch, first, count).view());
  }
  std::vector<float> read(const RowStore& s, int64_t first, int64_t count) {
    const Buffer rows(kStoreFormat.dtype, {kRowBatch, count, kStoreFormat.width()});
    s.read(ctx_, first, rows.view());
    const auto* x = rows.view().as<float>();
    return {x, x + rows.view().count()};
  }
  static std::vector<float> wanted(int64_t branch, int64_t first, int64_t count) {
    const Buffer rows = rows_of_branch(branch, first, count);
    const auto* x = rows.view().as<float>();
    return {x, x + rows.view().count()};
  }
  /// Memory of so many pages.
  static int64_t pages(int64_t n) {
    return n * kRowBatch * page_elements(kStoreFormat.heads, kStoreFormat.head_dim) *
           size_of(kStoreFormat.dtype);
  }
  static bool same_page(const RowStore& a, const RowStore& b, int64_t page) {
    return a.pages(a.length()).keys<float>(kRowBatch, 0, 0, page) ==
           b.pages(b.length()).keys<float>(kRowBatch, 0, 0, page);
  }
  Context ctx_{Backend::kReference, 1};
};

TEST_F(RowStoreTest, RowsComeBackHoweverTheyWereWritten) {
  for (const int64_t piece : {1, 7, 63, 64, 65, 200}) {
    RowStore s = store();
    EXPECT_EQ(s.begin(), 0);
    EXPECT_EQ(s.bytes(), 0);
    for (int64_t at = 0; at < 200; at += piece) write(s, 0, at, std::min(piece, 200 - at));
    EXPECT_EQ(s.length(), 200) << piece;
    EXPECT_EQ(s.bytes(), pages(4)) << piece;
    EXPECT_EQ(read(s, 0, 200), wanted(0, 0, 200)) << piece;
    EXPECT_EQ(read(s, 60, 70), wanted(0, 60, 70)) << piece;
  }
}

TEST_F(RowStoreTest, WritingAgainKeepsTheRowsBeyond) {
  RowStore s = store();
  write(s, 0, 0, 150);
  write(s, 1, 10, 80);
  EXPECT_EQ(s.length(), 150);
  EXPECT_EQ(read(s, 0, 10), wanted(0, 0, 10));
  EXPECT_EQ(read(s, 10, 80), wanted(1, 10, 80));
  EXPECT_EQ(read(s, 90, 60), wanted(0, 90, 60));
}

TEST_F(RowStoreTest, ForksDoNotSeeEachOther) {
  for (const int64_t length : {1, 64, 100, 128, 190}) {
    SCOPED_TRACE(length);
    RowStore original = store();
    write(original, 0, 0, length);
    RowStore one = original.copy_in(Memory::kHost), two = original.copy_in(Memory::kHost);
    write(one, 1, length, 70);
    write(two, 2, length, 90);
    write(original, 3, length, 5);
    EXPECT_EQ(one.length(), length + 70);
    EXPECT_EQ(two.length(), length + 90);
    EXPECT_EQ(original.length(), length + 5);
    for (const RowStore* s : {&original, &one, &two}) EXPECT_EQ(read(*s, 0, length), wanted(0, 0, length));
    EXPECT_EQ(read(one, length, 70), wanted(1, length, 70));
    EXPECT_EQ(read(two, length, 90), wanted(2, length, 90));
    EXPECT_EQ(read(original, length, 5), wanted(3, length, 5));
  }
}

TEST_F(RowStoreTest, CopiesSharePagesUntilOneIsWritten) {
  RowStore original = store();
  write(original, 0, 0, 100);
  RowStore fork = original.copy_in(Memory::kHost);
  EXPECT_EQ(fork.bytes(), original.bytes());
  EXPECT_TRUE(same_page(original, fork, 0));
  EXPECT_TRUE(same_page(original, fork, 1));
  write(fork, 1, 100, 1);
  EXPECT_TRUE(same_page(original, fork, 0)) << "the full page was not written";
  EXPECT_FALSE(same_page(original, fork, 1));
  fork.own();
  EXPECT_FALSE(same_page(original, fork, 0));
  EXPECT_EQ(read(fork, 0, 100), wanted(0, 0, 100));
}

TEST_F(RowStoreTest, TruncateFreesPagesAndLeavesForksAlone) {
  RowStore s = store();
  write(s, 0, 0, 200);
  const RowStore fork = s.copy_in(Memory::kHost);
  s.truncate(128);
  EXPECT_EQ(s.length(), 128);
  EXPECT_EQ(s.bytes(), pages(2));
  s.truncate(100);
  EXPECT_EQ(s.bytes(), pages(2));
  write(s, 1, 100, 100);
  EXPECT_EQ(read(s, 0, 100), wanted(0, 0, 100));
  EXPECT_EQ(read(s, 100, 100), wanted(1, 100, 100));
  EXPECT_EQ(read(fork, 0, 200), wanted(0, 0, 200));
  s.truncate(0);
  EXPECT_EQ(s.bytes(), 0);
  EXPECT_THROW(s.truncate(1), ContractError);
}

TEST_F(RowStoreTest, DroppedRowsReadAsZero) {
  RowStore s = store();
  write(s, 0, 0, 200);
  const RowStore fork = s.copy_in(Memory::kHost);
  s.drop_before(63);
  EXPECT_EQ(s.begin(), 0);
  s.drop_before(130);
  EXPECT_EQ(s.begin(), 128) << "only whole pages are dropped";
  EXPECT_EQ(s.bytes(), pages(2));
  EXPECT_EQ(s.length(), 200);
  const std::vector<float> zero(static_cast<size_t>(kRowBatch * 128 * kStoreFormat.width()), 0.0F);
  EXPECT_EQ(read(s, 0, 128), zero);
  // A kernel may write gradients for rows that are not held.
  s.pages(200).keys<float>(kRowBatch, 1, 0, 0)[0] = 5;
  s.pages(200).keys<float>(kRowBatch, 0, 0, 1)[3] = 7;
  EXPECT_EQ(read(s, 0, 128), zero);
  EXPECT_EQ(read(s, 128, 72), wanted(0, 128, 72));
  write(s, 1, 200, 100);
  EXPECT_EQ(s.begin(), 128);
  EXPECT_EQ(read(s, 200, 100), wanted(1, 200, 100));
  EXPECT_EQ(read(fork, 0, 200), wanted(0, 0, 200));
}

TEST_F(RowStoreTest, ZerosFromAToken) {
  RowStore s = store();
  s.fill_zero(200, 70);
  EXPECT_EQ(s.length(), 200);
  EXPECT_EQ(s.begin(), 64);
  EXPECT_EQ(s.bytes(), pages(3));
  EXPECT_EQ(read(s, 0, 200),
            std::vector<float>(static_cast<size_t>(kRowBatch * 200 * kStoreFormat.width()), 0.0F));
  EXPECT_THROW(s.fill_zero(10), ContractError);
}

TEST_F(RowStoreTest, CopiesKeepTheCuts) {
  RowStore s = store();
  write(s, 0, 0, 30);
  s.cuts() = {0, 10, 30};
  RowStore fork = s.copy_in(Memory::kHost);
  fork.cuts().push_back(40);
  EXPECT_EQ(s.cuts(), (std::vector<int64_t>{0, 10, 30}));
  EXPECT_EQ(fork.cuts(), (std::vector<int64_t>{0, 10, 30, 40}));
}

TEST_F(RowStoreTest, WrongRowsAreRefused) {
  RowStore s = store();
  write(s, 0, 0, 10);
  EXPECT_THROW(write(s, 0, 11, 1), ContractError) << "a gap";
  EXPECT_THROW(read(s, 5, 6), ContractError) << "beyond the end";
  EXPECT_THROW(s.write(ctx_, 10, Buffer(Dtype::kF64, {kRowBatch, 1, kStoreFormat.width()}).view()),
               ContractError);
  EXPECT_THROW(s.write(ctx_, 10, Buffer(Dtype::kF32, {kRowBatch, 1, 3}).view()), ContractError);
  EXPECT_THROW(s.write(ctx_, 10, Buffer(Dtype::kF32, {1, 1, kStoreFormat.width()}).view()), ContractError);
}

}  // namespace
}  // namespace natrix::test
