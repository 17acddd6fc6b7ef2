#include "core/text/mixture.h"

#include <cmath>
#include <numeric>

#include "tests/core/text_helpers.h"

namespace natrix::test {
namespace {

TEST(SourceTurns, AreNeverMoreThanARowFromTheirPart) {
  std::mt19937 random(1);
  std::vector<std::vector<double>> cases = {{1}, {0.7, 0.3}, {2, 1, 1}, {1e-6, 1}, {0.1, 0.2, 0.3, 0.4}};
  for (int i = 0; i < 20; ++i) {
    std::vector<double> weights(1 + random() % 12);
    for (double& w : weights) w = std::pow(10.0, static_cast<double>(random() % 3000) / 1000) + 0.5;
    cases.push_back(weights);
  }
  for (const auto& weights : cases) {
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    const SourceTurns turns(weights);
    std::vector<int64_t> given(weights.size(), 0);
    for (int64_t row = 0; row < 20'000; ++row) {
      const auto turn = turns[row];
      ASSERT_EQ(turn.before, given[turn.source]++) << row;
      for (size_t i = 0; i < weights.size(); ++i) {
        // Weights are rounded to millionths.
        const double due = weights[i] / sum * static_cast<double>(row + 1);
        ASSERT_LE(std::abs(static_cast<double>(given[i]) - due), 1 + 1e-6 * static_cast<double>(row)) << row;
      }
    }
  }
}

TEST(SourceTurns, RepeatAfterTheShortestPeriod) {
  EXPECT_EQ(SourceTurns({0.7, 0.3}).period(), 10);
  EXPECT_EQ(SourceTurns({70, 30}).period(), 10);
  EXPECT_EQ(SourceTurns({1, 1, 1}).period(), 3);
  EXPECT_EQ(SourceTurns({5}).period(), 1);
  const SourceTurns turns({0.7, 0.2, 0.1});
  const int64_t far = int64_t{1} << 50;
  EXPECT_EQ(turns[far * 10 + 3].source, turns[3].source);
  EXPECT_EQ(turns[far * 10 + 3].before, far * turns.share(turns[3].source) + turns[3].before);
}

/// Corpora whose texts are one letter each, so that a row shows where it is from.
class MixtureOfLetters : public ::testing::Test {
 protected:
  std::unique_ptr<BatchSource> mixture(int64_t batch_size) const {
    std::vector<MixtureSource> sources;
    for (const auto& [letter, size, weight] : {std::tuple('a', 1000, 5.0), {'b', 90, 3.0}, {'c', 400, 2.0}}) {
      const std::string name(1, letter);
      sources.push_back(
          {open_corpus({scratch_.write(name, std::string(static_cast<size_t>(size), letter))}, *kBytes),
           weight});
    }
    return mixture_of(std::move(sources), Documents::kPacked, 8, batch_size, 3);
  }
  ScratchDir scratch_;
};

TEST_F(MixtureOfLetters, GivesEachItsPartOfTheRows) {
  const auto source = mixture(10);
  std::map<int64_t, int> rows;
  for (int64_t step = 0; step < 20; ++step) {
    const Batch batch = source->batch(step, 0, 10);
    for (int64_t row = 0; row < 10; ++row) {
      const Tokens tokens = row_of(batch.tokens, row);
      const int64_t letter = tokens[0] == 256 ? tokens[1] : tokens[0];
      for (const int64_t token : tokens) EXPECT_TRUE(token == letter || token == 256);
      ++rows[letter];
    }
  }
  EXPECT_EQ(rows['a'], 100);
  EXPECT_EQ(rows['b'], 60);
  EXPECT_EQ(rows['c'], 40);
  const auto lines = source->remarks(100);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_NE(lines[1].find("30 % of rows from " + scratch_ / "b"), std::string::npos) << lines[1];
  EXPECT_NE(lines[1].find("27.3 epochs in 100 steps"), std::string::npos) << lines[1];  // 300 / (91 / 8)
  EXPECT_EQ(source->files().size(), 3u);
}

TEST_F(MixtureOfLetters, DoesNotDependOnHowRowsAreDivided) {
  const auto source = mixture(6);
  for (const int64_t step : {0, 7, 1'000'000}) {
    const Batch whole = source->batch(step, 0, 6);
    for (int64_t row = 0; row < 6; ++row) {
      const Batch one = source->batch(step, row, 1);
      EXPECT_EQ(row_of(one.tokens, 0), row_of(whole.tokens, row));
      EXPECT_EQ(row_of(one.targets, 0), row_of(whole.targets, row));
    }
  }
}

TEST_F(MixtureOfLetters, OneSourceGivesItsOwnBatches) {
  const std::shared_ptr<const Corpus> corpus =
      open_corpus({scratch_.write("d", "abcdefghijklmnopq")}, *kBytes);
  const auto mixed = mixture_of({{corpus, 0.3}}, Documents::kPacked, 4, 3, 11);
  const auto alone = shuffled_windows(corpus, Documents::kPacked, 4, 3, 11);
  for (int64_t step = 0; step < 9; ++step)
    EXPECT_EQ(row_of(mixed->batch(step, 1, 1).tokens, 0), row_of(alone->batch(step, 1, 1).tokens, 0));
}

TEST_F(MixtureOfLetters, RefusesASourceShorterThanAWindow) {
  const std::shared_ptr<const Corpus> corpus = open_corpus({scratch_.write("short", "abc")}, *kBytes);
  expect_error<InputError>(
      [&] {
        mixture_of({{corpus, 1.0}}, Documents::kPacked, 8, 1, 1);
      },
      {scratch_ / "short", "fewer than one window"});
}

}  // namespace
}  // namespace natrix::test
