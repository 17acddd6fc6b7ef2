#include "core/text/batches.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/files/safetensors.h"
#include "kernels/loss.h"
#include "tests/core/text_helpers.h"

namespace natrix::test {
namespace {

std::vector<int> starts_of(const Batch& batch, int64_t row) {
  const uint8_t* from = batch.doc_start.view().row<uint8_t>(row);
  return {from, from + batch.doc_start.view().cols()};
}

void expect_same(const Batch& a, const Batch& b) {
  ASSERT_EQ(a.tokens.view().shape, b.tokens.view().shape);
  EXPECT_EQ(a.continues, b.continues);
  for (int64_t row = 0; row < a.tokens.view().rows(); ++row) {
    EXPECT_EQ(row_of(a.tokens, row), row_of(b.tokens, row));
    EXPECT_EQ(row_of(a.targets, row), row_of(b.targets, row));
    EXPECT_EQ(starts_of(a, row), starts_of(b, row));
  }
}

/// A random corpus in which a few tokens in a row tell the position.
struct Texts {
  explicit Texts(unsigned seed, int64_t documents = 12, int64_t longest = 90) {
    std::mt19937 random(seed);
    auto texts = random_documents(random, documents, longest);
    for (auto& text : texts) text += random_bytes(random, 5);
    tokens = expected_tokens(texts);
    corpus = open_corpus({write_documents(scratch, "texts", texts)}, *kBytes);
    ring = corpus->size() - 1;
  }
  /// Where on the ring these tokens stand; fails unless there is exactly one place.
  int64_t find(const Tokens& window) const {
    std::vector<int64_t> found;
    for (int64_t begin = 0; begin < ring; ++begin) {
      bool same = true;
      for (size_t t = 0; same && t < window.size(); ++t) {
        same = window[t] == tokens[static_cast<size_t>((begin + static_cast<int64_t>(t)) % ring)];
      }
      if (same) found.push_back(begin);
    }
    EXPECT_EQ(found.size(), 1u);
    return found.empty() ? -1 : found[0];
  }
  ScratchDir scratch;
  Tokens tokens;
  std::shared_ptr<const Corpus> corpus;
  int64_t ring = 0;
};

// ---- shuffled

TEST(ShuffledWindows, AnEpochUsesEveryWindowOnceAndNoTargetTwice) {
  for (unsigned seed = 0; seed < 8; ++seed) {
    const Texts texts(seed);
    const int64_t length = 7 + seed, rows = 3;
    const auto source = shuffled_windows(texts.corpus, Documents::kPacked, length, rows, seed);
    const int64_t windows = texts.ring / length;
    EXPECT_EQ(source->batches_per_epoch(), (windows + rows - 1) / rows);
    std::set<int64_t> targets;
    std::vector<int64_t> order;
    for (int64_t drawn = 0; drawn < 3 * windows; ++drawn) {
      const Batch batch = source->batch(drawn / rows, drawn % rows, 1);
      const auto tokens = row_of(batch.tokens, 0), next = row_of(batch.targets, 0);
      const int64_t begin = texts.find(tokens);
      for (size_t t = 0; t < tokens.size(); ++t) {
        const auto position = (begin + static_cast<int64_t>(t) + 1) % texts.ring;
        EXPECT_EQ(next[t], texts.tokens[static_cast<size_t>(position)]);
        EXPECT_TRUE(targets.insert(position).second) << "token " << position << " is a target twice";
        EXPECT_EQ(starts_of(batch, 0)[t], tokens[t] == 256 ? 1 : 0);
      }
      EXPECT_FALSE(batch.continues);
      order.push_back(begin);
      if ((drawn + 1) % windows == 0) {  // the epoch is over: its windows lie end to end
        EXPECT_EQ(static_cast<int64_t>(targets.size()), windows * length);
        targets.clear();
      }
    }
    const auto epoch = [&](int64_t e) {
      return std::vector<int64_t>(order.begin() + e * windows, order.begin() + (e + 1) * windows);
    };
    const auto cuts = [&](int64_t e) {
      auto begins = epoch(e);
      std::sort(begins.begin(), begins.end());
      return begins;
    };
    EXPECT_NE(cuts(0), cuts(1));  // another phase
    EXPECT_NE(epoch(0), epoch(1));
    EXPECT_NE(epoch(1), epoch(2));
    EXPECT_FALSE(std::is_sorted(order.begin(), order.begin() + windows));
  }
}

TEST(ShuffledWindows, DependOnTheSeedAndTheStepAlone) {
  const Texts texts(20);
  const auto make = [&](uint64_t seed) {
    return shuffled_windows(texts.corpus, Documents::kPacked, 16, 4, seed);
  };
  const auto a = make(1), b = make(1), c = make(2);
  b->batch(100, 0, 4);  // asking out of order changes nothing
  int same = 0;
  for (int64_t step = 0; step < 40; ++step) {
    expect_same(a->batch(step, 0, 4), b->batch(step, 0, 4));
    same += row_of(a->batch(step, 0, 4).tokens, 0) == row_of(c->batch(step, 0, 4).tokens, 0) ? 1 : 0;
  }
  EXPECT_LT(same, 10);
}

TEST(BatchSource, IsKnownByItsTokens) {
  std::mt19937 random(5);
  const ScratchDir scratch;
  const auto identity = [&](const std::string& name, const std::string& text) {
    write_file(scratch / name, text);
    const std::shared_ptr<const Corpus> corpus = open_corpus({scratch / name}, *kBytes);
    const std::string a = shuffled_windows(corpus, Documents::kPacked, 16, 2, 1)->identity();
    EXPECT_EQ(sequential_stretches(corpus, Documents::kPacked, 16, 2)->identity(), a);
    return a;
  };
  for (const int64_t bytes : {100, 70000, 300000}) {
    std::string text = random_bytes(random, bytes);
    const std::string before = identity("a", text);
    EXPECT_EQ(identity("b", text), before) << "wherever it lies";
    EXPECT_NE(identity("a", text + "x"), before);
    text[0] = static_cast<char>(text[0] + 1);
    EXPECT_NE(identity("a", text), before);
  }
}

TEST(ShuffledWindows, RanksTakeRowsOfTheSameBatch) {
  const Texts texts(21);
  for (const auto& source : {shuffled_windows(texts.corpus, Documents::kPacked, 16, 6, 5),
                             sequential_stretches(texts.corpus, Documents::kPacked, 16, 6)}) {
    for (int64_t step = 0; step < 9; ++step) {
      const Batch whole = source->batch(step, 0, 6);
      const Batch tail = source->batch(step, 4, 2);
      EXPECT_EQ(whole.continues, tail.continues);
      for (int64_t row = 0; row < 2; ++row) {
        EXPECT_EQ(row_of(whole.tokens, 4 + row), row_of(tail.tokens, row));
        EXPECT_EQ(row_of(whole.targets, 4 + row), row_of(tail.targets, row));
        EXPECT_EQ(starts_of(whole, 4 + row), starts_of(tail, row));
      }
    }
  }
}

TEST(ShuffledWindows, TheSmallestCorpusIsOneWindow) {
  const ScratchDir scratch;
  const std::shared_ptr<const Corpus> corpus = open_corpus({scratch.write("a", "abcdef")}, *kBytes);
  const auto source = shuffled_windows(corpus, Documents::kPacked, 7, 2, 1);
  for (int64_t step = 0; step < 20; ++step) {
    auto row = row_of(source->batch(step, 1, 1).tokens, 0);
    std::sort(row.begin(), row.end());
    EXPECT_EQ(row, (Tokens{'a', 'b', 'c', 'd', 'e', 'f', 256}));
  }
  expect_error<InputError>([&] { shuffled_windows(corpus, Documents::kPacked, 8, 2, 1); },
                           {scratch / "a", "8 tokens", "sequence.length + 1 = 9", "at most 7"});
}

TEST(ShuffledWindows, JoinedDocumentsHaveNoResets) {
  const Texts texts(22);
  const Batch packed = shuffled_windows(texts.corpus, Documents::kPacked, 30, 4, 3)->batch(2, 0, 4);
  const Batch joined = shuffled_windows(texts.corpus, Documents::kJoined, 30, 4, 3)->batch(2, 0, 4);
  EXPECT_TRUE(packed.doc_start);
  EXPECT_FALSE(joined.doc_start);
  for (int64_t row = 0; row < 4; ++row) {
    EXPECT_EQ(row_of(packed.tokens, row), row_of(joined.tokens, row));
    EXPECT_EQ(row_of(packed.targets, row), row_of(joined.targets, row));
  }
}

TEST(ShuffledWindows, WithoutSeparatorsTheFirstByteOfADocumentIsNoTarget) {
  const ScratchDir scratch;
  const auto dir = write_documents(scratch, "texts", {"abcd", "", "xyz"});
  const std::shared_ptr<const Corpus> corpus = open_corpus({dir}, *make_tokenizer("bytes", 256));
  for (const auto documents : {Documents::kPacked, Documents::kJoined}) {
    const auto source = shuffled_windows(corpus, documents, 7, 1, 1);
    const Tokens ring = {'a', 'b', 'c', 'd', 'x', 'y', 'z'};
    for (int64_t step = 0; step < 10; ++step) {
      const Batch batch = source->batch(step, 0, 1);
      const auto tokens = row_of(batch.tokens, 0), targets = row_of(batch.targets, 0);
      for (size_t t = 0; t < 7; ++t) {
        const auto at = static_cast<size_t>(std::find(ring.begin(), ring.end(), tokens[t]) - ring.begin());
        const int64_t next = ring[(at + 1) % 7];
        const bool crosses = next == 'a' || next == 'x';
        EXPECT_EQ(targets[t], crosses && documents == Documents::kPacked ? kIgnoreTarget : next);
        if (documents == Documents::kPacked) {
          EXPECT_EQ(starts_of(batch, 0)[t], tokens[t] == 'a' || tokens[t] == 'x');
        }
      }
    }
  }
}

// ---- sequential

TEST(SequentialStretches, RowsGoOnFromStepToStepAndWrap) {
  for (unsigned seed = 30; seed < 36; ++seed) {
    const Texts texts(seed);
    const int64_t rows = 1 + seed % 4, length = 5 + seed % 9;
    const auto source = sequential_stretches(texts.corpus, Documents::kPacked, length, rows);
    const int64_t stretch = (texts.corpus->size() - 1) / rows, steps = stretch / length;
    EXPECT_EQ(source->batches_per_epoch(), steps);
    for (int64_t step = 0; step < 2 * steps + 1; ++step) {
      const Batch batch = source->batch(step, 0, rows);
      EXPECT_EQ(batch.continues, step % steps != 0);
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t t = 0; t < length; ++t) {
          const auto at = static_cast<size_t>(row * stretch + step % steps * length + t);
          const auto i = static_cast<size_t>(t);
          ASSERT_EQ(row_of(batch.tokens, row)[i], texts.tokens[at]);
          ASSERT_EQ(row_of(batch.targets, row)[i], texts.tokens[at + 1]);
          const bool forgets = texts.tokens[at] == 256 || (step % steps == 0 && t == 0);
          ASSERT_EQ(starts_of(batch, row)[i], forgets ? 1 : 0);
        }
      }
    }
  }
}

TEST(SequentialStretches, ChangingADocumentChangesNothingOfAnother) {
  std::mt19937 random(40);
  auto documents = random_documents(random, 6, 40);
  documents[3] = random_bytes(random, 25);
  const ScratchDir scratch;
  const auto before = write_documents(scratch, "before", documents);
  const int64_t changed_begin =
      static_cast<int64_t>(expected_tokens({documents.begin(), documents.begin() + 3}).size() - 1);
  documents[3] = random_bytes(random, 25);
  const auto after = write_documents(scratch, "after", documents);
  const auto whole = [&](const std::string& dir) {
    const std::shared_ptr<const Corpus> corpus = open_corpus({dir}, *kBytes);
    return sequential_stretches(corpus, Documents::kPacked, corpus->size() - 1, 1)->batch(0, 0, 1);
  };
  const Batch a = whole(before), b = whole(after);
  for (int64_t t = 0; t < a.tokens.view().cols(); ++t) {
    const auto i = static_cast<size_t>(t);
    EXPECT_EQ(starts_of(a, 0)[i], starts_of(b, 0)[i]);
    if (changed_begin <= t && t < changed_begin + 26) continue;  // its separator and its bytes, as inputs
    EXPECT_EQ(row_of(a.tokens, 0)[i], row_of(b.tokens, 0)[i]);
    EXPECT_EQ(row_of(a.targets, 0)[i], row_of(b.targets, 0)[i]);
  }
  EXPECT_NE(row_of(a.tokens, 0), row_of(b.tokens, 0));
}

TEST(SequentialStretches, NeedAWindowForEachRow) {
  const ScratchDir scratch;
  const std::shared_ptr<const Corpus> corpus =
      open_corpus({scratch.write("a", std::string(40, 'a'))}, *kBytes);
  EXPECT_EQ(sequential_stretches(corpus, Documents::kPacked, 10, 4)->batches_per_epoch(), 1);
  expect_error<InputError>([&] { sequential_stretches(corpus, Documents::kPacked, 11, 4); },
                           {scratch / "a", "42 tokens", "4 · 11 + 1"});
}

// ---- evaluation

TEST(EvalWindows, PredictEveryTokenButTheFirstOnce) {
  for (unsigned seed = 50; seed < 60; ++seed) {
    const Texts texts(seed, 5, 60);
    const int64_t all = texts.corpus->size() - 1;
    for (const int64_t length : {int64_t{1}, int64_t{7}, int64_t{32}, all, 3 * all}) {
      for (const int64_t most : {int64_t{1}, all / 2, all, 10 * all}) {
        const EvalWindows eval(texts.corpus, Documents::kPacked, length, most);
        const int64_t expected = std::min(all, most);
        EXPECT_EQ(eval.predictions(), expected);
        EXPECT_EQ(eval.length(), std::min(length, expected));
        EXPECT_EQ(eval.bytes(), std::count_if(texts.tokens.begin() + 1, texts.tokens.begin() + 1 + expected,
                                              [](int64_t token) { return token != 256; }));
        EXPECT_EQ(eval.count(), (expected + eval.length() - 1) / eval.length());
        Tokens predicted;
        for (int64_t begin = 0; begin < eval.count(); begin += 3) {
          const Batch batch = eval.windows(begin, 3);  // the last call asks for rows that do not exist
          for (int64_t row = 0; row < 3; ++row) {
            for (int64_t t = 0; t < eval.length(); ++t) {
              const auto i = static_cast<size_t>(t);
              if (row_of(batch.targets, row)[i] == kIgnoreTarget) continue;
              EXPECT_EQ(row_of(batch.tokens, row)[i], texts.tokens[predicted.size()]);
              EXPECT_EQ(starts_of(batch, row)[i], texts.tokens[predicted.size()] == 256 ? 1 : 0);
              predicted.push_back(row_of(batch.targets, row)[i]);
            }
          }
        }
        EXPECT_EQ(predicted, Tokens(texts.tokens.begin() + 1, texts.tokens.begin() + 1 + expected));
      }
    }
  }
}

TEST(EvalWindows, PartsOfWindowsAreThoseOfWholeOnes) {
  const Texts texts(61, 5, 60);
  const EvalWindows eval(texts.corpus, Documents::kPacked, 23, texts.corpus->size() - 4);
  for (int64_t begin = 0; begin < eval.count(); begin += 2) {
    const Batch whole = eval.windows(begin, 2);
    for (int64_t first = 0; first < 23; first += 9) {
      const int64_t count = std::min<int64_t>(9, 23 - first);
      const Batch part = eval.windows(begin, 2, first, count);
      for (int64_t row = 0; row < 2; ++row) {
        for (int64_t t = 0; t < count; ++t) {
          const auto i = static_cast<size_t>(t), j = static_cast<size_t>(first + t);
          EXPECT_EQ(row_of(part.targets, row)[i], row_of(whole.targets, row)[j]);
          if (row_of(part.targets, row)[i] == kIgnoreTarget) continue;
          EXPECT_EQ(row_of(part.tokens, row)[i], row_of(whole.tokens, row)[j]);
          EXPECT_EQ(starts_of(part, row)[i], starts_of(whole, row)[j]);
        }
      }
    }
  }
}

TEST(EvalWindows, CoverEveryByteOfTheText) {
  const ScratchDir scratch;
  const std::shared_ptr<const Corpus> corpus =
      open_corpus({scratch.write("a", "abc"), scratch.write("b", ""), scratch.write("c", "defgh")}, *kBytes);
  const EvalWindows eval(corpus, Documents::kPacked, 4, 1000);
  EXPECT_EQ(eval.bytes(), 8);
  EXPECT_EQ(eval.predictions(), 11);  // and the three ends of document
}

TEST(EvalWindows, WithoutSeparatorsFirstBytesArePredictedOnlyWhenJoined) {
  const ScratchDir scratch;
  const std::shared_ptr<const Corpus> corpus =
      open_corpus({scratch.write("a", "abc"), scratch.write("b", "defgh")}, *make_tokenizer("bytes", 256));
  EXPECT_EQ(EvalWindows(corpus, Documents::kJoined, 3, 1000).predictions(), 7);
  const EvalWindows packed(corpus, Documents::kPacked, 3, 1000);
  EXPECT_EQ(packed.predictions(), 6);
  EXPECT_EQ(packed.bytes(), 6);
  const Batch batch = packed.windows(0, 1);
  EXPECT_EQ(row_of(batch.targets, 0), (Tokens{'b', 'c', kIgnoreTarget}));
}

TEST(EvalWindows, RefuseASingleToken) {
  const ScratchDir scratch;
  const std::shared_ptr<const Corpus> corpus =
      open_corpus({scratch.write("a", "x")}, *make_tokenizer("bytes", 256));
  expect_error<InputError>([&] { EvalWindows(corpus, Documents::kPacked, 8, 8); },
                           {scratch / "a", "nothing to predict"});
}

// ---- the configuration

TEST(MakeBatchSource, FollowsTheConfiguration) {
  const Texts texts(70);
  DataConfig data;
  data.train = {texts.scratch / "texts"};
  SequenceConfig sequence;
  sequence.length = 12;
  TrainConfig train;
  train.batch_size = 3;
  train.seed = 9;
  expect_same(make_batch_source(data, sequence, train, *kBytes, 257)->batch(4, 0, 3),
              shuffled_windows(texts.corpus, Documents::kPacked, 12, 3, 9)->batch(4, 0, 3));
  data.order = DataOrder::kSequential;
  expect_same(make_batch_source(data, sequence, train, *kBytes, 320)->batch(4, 0, 3),
              sequential_stretches(texts.corpus, Documents::kPacked, 12, 3)->batch(4, 0, 3));
  data.documents = Documents::kJoined;
  EXPECT_FALSE(make_batch_source(data, sequence, train, *kBytes, 257)->batch(0, 0, 3).doc_start);
  expect_error<InputError>([&] { make_batch_source(data, sequence, train, *kBytes, 256); },
                           {"model.vocab_size is 256", "257"});

  Buffer tokens(Dtype::kI64, {train.steps, 3, 13});
  tokens.view().row<int64_t>(5)[12] = 900;  // fits the model, if not the tokenizer
  write_safetensors(texts.scratch / "b.safetensors", {{"tokens", tokens.view()}});
  data.batches = texts.scratch / "b.safetensors";
  expect_error<InputError>([&] { make_batch_source(data, sequence, train, *kBytes, 1000); },
                           {"data.train", "data.batches"});
  data.train.clear();
  EXPECT_EQ(row_of(make_batch_source(data, sequence, train, *kBytes, 1000)->batch(1, 0, 3).targets, 2)[11],
            900);
}

}  // namespace
}  // namespace natrix::test
