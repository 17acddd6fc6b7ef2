// Appended rows in carried states: forks of them, and joining and splitting along the rows of the batch.
#include "core/carry/state_rows.h"

#include <gtest/gtest.h>

#include "core/carry/carry_route.h"

namespace natrix::test {
namespace {

constexpr CarryKey kAppendedKey{.layer = 1, .part = 0};
constexpr RowFormat kAppendedFormat{.dtype = Dtype::kF32, .heads = 1, .head_dim = 2};

/// Rows [batch, count, width]; each number names the sequence, the token and the channel.
Buffer rows_of_sequences(int64_t first_sequence, int64_t batch, int64_t first, int64_t count) {
  Buffer rows(kAppendedFormat.dtype, {batch, count, kAppendedFormat.width()});
  auto* x = rows.view().as<float>();
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < count; ++t) {
      for (int64_t c = 0; c < kAppendedFormat.width(); ++c)
        *x++ = static_cast<float>(10000 * (first_sequence + b + 1) + 10 * (first + t) + c);
    }
  }
  return rows;
}

class AppendedStates : public ::testing::Test {
 protected:
  CarryStates states(int64_t first_sequence, int64_t batch, int64_t length, int64_t drop = 0) {
    auto store = std::make_shared<RowStore>(kAppendedFormat, batch, Memory::kHost);
    store->write(ctx_, 0, rows_of_sequences(first_sequence, batch, 0, length).view());
    store->drop_before(drop);
    CarryStates s;
    s.put_rows(kAppendedKey, {store, length});
    return s;
  }
  /// The last `count` rows of every sequence.
  std::vector<float> last(const CarryStates& s, int64_t count) {
    const AppendedRows rows = s.rows_at(kAppendedKey);
    const Buffer out(kAppendedFormat.dtype, {rows.store->batch(), count, kAppendedFormat.width()});
    rows.store->read(ctx_, rows.length - count, out.view());
    return {out.view().as<float>(), out.view().as<float>() + out.view().count()};
  }
  static std::vector<float> wanted(int64_t first_sequence, int64_t batch, int64_t first, int64_t count) {
    const Buffer rows = rows_of_sequences(first_sequence, batch, first, count);
    return {rows.view().as<float>(), rows.view().as<float>() + rows.view().count()};
  }
  Context ctx_{Backend::kReference, 1};
};

TEST_F(AppendedStates, JoinAndSplit) {
  for (const int64_t length : {1, 64, 100}) {
    std::vector<CarryStates> parts;
    parts.push_back(states(0, 2, length));
    parts.push_back(states(2, 1, length));
    const CarryStates all = join_rows(parts);
    EXPECT_EQ(all.rows_at(kAppendedKey).length, length);
    EXPECT_EQ(last(all, length), wanted(0, 3, 0, length)) << length;
    EXPECT_EQ(last(rows_of(all, 0, 1, Memory::kHost), length), wanted(0, 1, 0, length)) << length;
    EXPECT_EQ(last(rows_of(all, 1, 2, Memory::kHost), length), wanted(1, 2, 0, length)) << length;
  }
}

// Blocks of keys begin at pages. A token must keep its place within the page, or attention adds in another
// order and the bits of a resumed run differ.
TEST_F(AppendedStates, SequencesOfDifferentLengthsGoOnTogether) {
  std::vector<CarryStates> parts;
  const std::vector<int64_t> lengths = {1, 64, 100};
  for (int64_t b = 0; b < 3; ++b) parts.push_back(states(b, 1, lengths[static_cast<size_t>(b)]));
  const CarryStates all = join_sequences(parts);
  LocalRoute route;
  route.resume(&all);
  route.begin_segment(false);
  ASSERT_TRUE(route.ragged());
  for (int64_t b = 0; b < 3; ++b) {
    const int64_t length = lengths[static_cast<size_t>(b)];
    const History h =
        route.append_row(ctx_, kAppendedKey, b, kAppendedFormat, rows_of_sequences(b, 1, length, 2).view());
    EXPECT_EQ(h.first, length);
    EXPECT_EQ(h.length, length + 2);
  }
  for (int64_t b = 0; b < 3; ++b) {
    const int64_t length = lengths[static_cast<size_t>(b)];
    const CarryStates own = sequence_of(route.carried(), b);
    EXPECT_EQ(own.rows_at(kAppendedKey).length, length + 2);
    EXPECT_EQ(last(own, length + 2), wanted(b, 1, 0, length + 2));
    EXPECT_EQ(last(parts[static_cast<size_t>(b)], length), wanted(b, 1, 0, length)) << "the part has changed";
  }
}

TEST_F(AppendedStates, DroppedRowsGoAndTokensKeepTheirPlaceInAPage) {
  for (const int64_t length : {129, 200, 256, 300}) {
    SCOPED_TRACE(length);
    std::vector<CarryStates> parts;
    parts.push_back(states(0, 1, length, 130));
    parts.push_back(states(1, 1, length, 70));
    const CarryStates all = join_rows(parts);
    const int64_t held = length - 64;
    EXPECT_EQ(all.rows_at(kAppendedKey).length, held);
    EXPECT_EQ(all.rows_at(kAppendedKey).length % kPageRows, length % kPageRows);
    const int64_t both = length - 128;
    EXPECT_EQ(last(all, both), [&] {
      std::vector<float> rows = wanted(0, 1, 128, both);
      const std::vector<float> second = wanted(1, 1, 128, both);
      rows.insert(rows.end(), second.begin(), second.end());
      return rows;
    }());
    EXPECT_EQ(last(rows_of(all, 1, 1, Memory::kHost), held), wanted(1, 1, 64, held));
    const std::vector<float> first = last(rows_of(all, 0, 1, Memory::kHost), held);
    const auto dropped = static_cast<size_t>(64 * kAppendedFormat.width());
    EXPECT_EQ(std::vector<float>(first.begin(), first.begin() + static_cast<int64_t>(dropped)),
              std::vector<float>(dropped, 0.0F))
        << "what one sequence no longer holds is zero";
  }
}

TEST_F(AppendedStates, CopiesEndAtTheBoundaryAndGoOnApart) {
  CarryStates original = states(0, 2, 150);
  original.put_rows(kAppendedKey,
                    {original.rows_at(kAppendedKey).store, 100});  // a boundary within the store
  const CarryStates one = copy_of(original), two = copy_of(original, Memory::kHost);
  EXPECT_EQ(one.rows_at(kAppendedKey).store->length(), 100);
  append_to(ctx_, one.rows_at(kAppendedKey), kAppendedFormat, rows_of_sequences(5, 2, 100, 30).view());
  append_to(ctx_, two.rows_at(kAppendedKey), kAppendedFormat, rows_of_sequences(7, 2, 100, 40).view());
  const auto read = [&](const CarryStates& s, int64_t count) {
    const Buffer out(kAppendedFormat.dtype, {2, count, kAppendedFormat.width()});
    s.rows_at(kAppendedKey).store->read(ctx_, 100, out.view());
    return std::vector<float>(out.view().as<float>(), out.view().as<float>() + out.view().count());
  };
  EXPECT_EQ(read(one, 30), wanted(5, 2, 100, 30));
  EXPECT_EQ(read(two, 40), wanted(7, 2, 100, 40));
  EXPECT_EQ(read(original, 50), wanted(0, 2, 100, 50));
  for (const CarryStates* s : {&std::as_const(original), &one, &two})
    EXPECT_EQ(last(*s, 100), wanted(0, 2, 0, 100));
}

// Backward over segments: later contributions are there, and rows that are done are cut off.
TEST_F(AppendedStates, RowGradientsGoBackThroughTheSegments) {
  LocalRoute states, gradients;
  states.resume(nullptr);
  std::vector<History> histories;
  for (int64_t s = 0; s < 3; ++s) {
    states.begin_segment(s == 2);
    histories.push_back(
        states.append(ctx_, kAppendedKey, kAppendedFormat, rows_of_sequences(0, 2, 50 * s, 50).view()));
    EXPECT_EQ(histories.back().first, 50 * s);
    EXPECT_EQ(histories.back().length, 50 * (s + 1));
  }
  gradients.resume(nullptr);
  for (int64_t s = 2; s >= 0; --s) {
    gradients.begin_segment(s == 0);
    const History g = gradients.row_gradients(kAppendedKey, histories[static_cast<size_t>(s)]);
    // Every segment adds 1 to the first channel of each key before and in it.
    for (int64_t t = 0; t < g.length; ++t) g.pages().keys<float>(2, 1, 0, t / kPageRows)[t % kPageRows] += 1;
    const Buffer own(kAppendedFormat.dtype, {2, 50, kAppendedFormat.width()});
    gradients.collect(ctx_, kAppendedKey, g, own.view());
    for (int64_t t = 0; t < 50; ++t) {
      EXPECT_EQ(own.view().as<float>()[t * kAppendedFormat.width()], 0) << "segment " << s << " token " << t;
      EXPECT_EQ(own.view().as<float>()[(50 + t) * kAppendedFormat.width()], static_cast<float>(3 - s))
          << "segment " << s << " token " << t;
    }
  }
}

// A caller may start another sweep from the same gradients.
TEST_F(AppendedStates, GradientsThatASweepStartsFromStayAsTheyAre) {
  const CarryStates rows = states(0, 2, 100), end = states(3, 2, 100);
  const History history{.rows = rows.rows_at(kAppendedKey).store, .first = 40, .length = 100};
  LocalRoute gradients;
  for (int again = 0; again < 2; ++again) {
    gradients.resume(&end);
    gradients.begin_segment(/*last=*/true);
    const History g = gradients.row_gradients(kAppendedKey, history);
    g.pages().keys<float>(2, 0, 0, 0)[41] += 1;
    const Buffer own(kAppendedFormat.dtype, {2, 60, kAppendedFormat.width()});
    gradients.collect(ctx_, kAppendedKey, g, own.view());
    EXPECT_EQ(own.view().as<float>()[kAppendedFormat.width()], wanted(3, 1, 41, 1)[0] + 1);
    EXPECT_EQ(last(end, 100), wanted(3, 2, 0, 100));
  }
}

TEST_F(AppendedStates, ACutGradientIsThatOfTheOwnRowsOnly) {
  LocalRoute states;
  CutRoute gradients;
  states.resume(nullptr);
  History history;
  for (int64_t s = 0; s < 4; ++s) {
    states.begin_segment(s == 3);
    history = states.append(ctx_, kAppendedKey, kAppendedFormat, rows_of_sequences(0, 2, 50 * s, 50).view());
  }
  for (int again = 0; again < 2; ++again) {
    const History g = gradients.row_gradients(kAppendedKey, history);
    for (int64_t t = 0; t < g.length; ++t) g.pages().keys<float>(2, 0, 0, t / kPageRows)[t % kPageRows] += 1;
    const Buffer own(kAppendedFormat.dtype, {2, 50, kAppendedFormat.width()});
    gradients.collect(ctx_, kAppendedKey, g, own.view());
    for (int64_t t = 0; t < 50; ++t) EXPECT_EQ(own.view().as<float>()[t * kAppendedFormat.width()], 1) << t;
    EXPECT_LE(g.rows->bytes(), 2 * 2 * page_elements(1, 2) * 4) << "two pages hold the rows 150 to 199";
  }
}

}  // namespace
}  // namespace natrix::test
