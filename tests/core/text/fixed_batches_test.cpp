// data.batches: exactly the batches of a file, in order.
#include <random>

#include "core/files/safetensors.h"
#include "core/text/batches.h"
#include "tests/core/text_helpers.h"

namespace natrix::test {
namespace {

class FixedBatches : public testing::Test {
 protected:
  static constexpr int64_t kSteps = 3, kRows = 2, kLength = 5, kVocab = 16;

  std::string write(const Buffer& tokens, const std::string& name = "tokens") {
    write_safetensors(scratch_ / "b.safetensors", {{name, tokens.view()}});
    return scratch_ / "b.safetensors";
  }
  static Buffer random_tokens() {
    Buffer tokens(Dtype::kI64, {kSteps, kRows, kLength + 1});
    std::mt19937 random(60);
    for (int64_t i = 0; i < tokens.view().count(); ++i) {
      tokens.view().as<int64_t>()[i] = static_cast<int64_t>(random() % kVocab);
    }
    return tokens;
  }
  ScratchDir scratch_;
};

TEST_F(FixedBatches, AreTheFilesRowsInOrder) {
  const Buffer tokens = random_tokens();
  const auto source = fixed_batches(write(tokens), kLength, kRows, kSteps, kVocab);
  EXPECT_EQ(source->batches_per_epoch(), -1);
  for (int64_t step = 0; step < kSteps; ++step) {
    for (int64_t row = 0; row < kRows; ++row) {
      const Batch batch = source->batch(step, row, 1);
      const int64_t* stored = tokens.view().row<int64_t>(step * kRows + row);
      EXPECT_EQ(row_of(batch.tokens, 0), Tokens(stored, stored + kLength));
      EXPECT_EQ(row_of(batch.targets, 0), Tokens(stored + 1, stored + kLength + 1));
      EXPECT_FALSE(batch.doc_start);
      EXPECT_FALSE(batch.continues);
    }
  }
  expect_error<InputError>([&] { source->batch(kSteps, 0, 1); }, {"b.safetensors", "3 steps", "step 3"});
}

TEST_F(FixedBatches, SayThatTheFileChangedUnderThem) {
  const auto path = write(random_tokens());
  const auto source = fixed_batches(path, kLength, kRows, kSteps, kVocab);
  const auto size = std::filesystem::file_size(path);
  std::fstream(path, std::ios::in | std::ios::out | std::ios::binary)
      .seekp(-8, std::ios::end)
      .write("\x7f", 1);
  expect_error<InputError>([&] { source->batch(2, 1, 1); },
                           {path, "step 2, row 1, position 5", "vocabulary of 16"});
  std::filesystem::resize_file(path, size - 8);
  EXPECT_NO_THROW(source->batch(2, 0, 1));
  expect_error<RunError>([&] { source->batch(2, 1, 1); }, {path, "ends at byte", "must not change"});
}

TEST_F(FixedBatches, NameWhatDoesNotFit) {
  const auto path = write(random_tokens());
  const auto open = [&](int64_t length, int64_t rows, int64_t steps, int64_t vocab) {
    return [=] { fixed_batches(path, length, rows, steps, vocab); };
  };
  expect_error<InputError>(open(4, kRows, kSteps, kVocab), {path, "6 tokens a row", "sequence.length is 4"});
  expect_error<InputError>(open(kLength, 4, kSteps, kVocab), {path, "2 rows", "train.batch_size is 4"});
  expect_error<InputError>(open(kLength, kRows, 4, kVocab), {path, "3 steps", "train.steps is 4"});

  Buffer tokens = random_tokens();
  tokens.view().row<int64_t>(2 * kRows + 1)[3] = kVocab;
  write(tokens);
  expect_error<InputError>(open(kLength, kRows, kSteps, kVocab),
                           {path, "step 2, row 1, position 3 is 16", "16"});
  EXPECT_NO_THROW(open(kLength, kRows, 2, kVocab)());  // that step is not asked for
  tokens.view().row<int64_t>(0)[kLength] = -1;
  write(tokens);
  expect_error<InputError>(open(kLength, kRows, kSteps, kVocab), {"step 0, row 0, position 5 is -1"});

  write(random_tokens(), "other");
  expect_error<InputError>(open(kLength, kRows, kSteps, kVocab), {path, "tokens"});
  write(Buffer(Dtype::kI32, {kSteps, kRows, kLength + 1}));
  expect_error<InputError>(open(kLength, kRows, kSteps, kVocab), {path, "i32[3, 2, 6]", "i64[steps"});
  write(Buffer(Dtype::kI64, {kRows, kLength + 1}));
  expect_error<InputError>(open(kLength, kRows, kSteps, kVocab), {path, "i64[2, 6]"});
}

}  // namespace
}  // namespace natrix::test
