// Evaluation on several ranks gives the figures of one process, whatever the mesh, the chunk and the length
// of the text.
#include <filesystem>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <mutex>
#include <nlohmann/json.hpp>

#include "core/train/evaluate.h"
#include "distributed/mpi_communicator.h"
#include "distributed/thread_communicator.h"
#include "tests/launch/ranks.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct EvalLayout {
  int dp = 1, cp = 1, ep = 1;
  CarryLinkKind link = CarryLinkKind::kRelay;
  int64_t chunk = 16;
};
constexpr CarryLinkKind kByScan = CarryLinkKind::kScan;

ModelConfig eval_model(int64_t vocabulary) {
  ModelConfig c = small_config();
  c.vocab_size = vocabulary;
  return c;
}

using Evaluate = std::function<EvalFigures(Model&, Context&, const Ranks&)>;

/// Every rank's figures, which must be the same.
EvalFigures figures_of(const EvalLayout& l, Model& whole, const Evaluate& evaluate) {
  ExperimentConfig config;
  config.model = whole.config();
  config.parallel = {.dp = l.dp, .cp = l.cp, .ep = l.ep, .cp_link = l.link, .timeout = 120};
  std::vector<EvalFigures> all(static_cast<size_t>(l.dp * l.cp));
  const auto body = [&](Transport* world) {
    Context ctx(Backend::kReference, 1);
    RunMesh mesh(config, ctx, world);
    AssembledModel model = assemble_model(config.model, whole.dtype(), true, ctx.memory(), mesh.exchange());
    copy_weights(whole, *model);
    all[static_cast<size_t>(mesh.ranks().world.rank())] = evaluate(*model, ctx, mesh.ranks());
  };
  if (all.size() == 1) {
    body(nullptr);
  } else {
    run_ranks(static_cast<int>(all.size()), 120, [&](Transport& world) { body(&world); });
  }
  for (const EvalFigures& f : all) {
    EXPECT_EQ(f.nats, all[0].nats);
    EXPECT_EQ(f.predictions, all[0].predictions);
  }
  return all[0];
}

void expect_equal_figures(const EvalFigures& got, const EvalFigures& want) {
  constexpr double kTolerance = 1e-12;  // f64: sums in another order, and maps in place of steps
  EXPECT_GT(want.predictions, 0);
  EXPECT_EQ(got.predictions, want.predictions);
  EXPECT_EQ(got.bytes, want.bytes);
  EXPECT_NEAR(got.nats, want.nats, kTolerance * want.nats);
  ASSERT_EQ(got.by_position.size(), want.by_position.size());
  for (size_t b = 0; b < want.by_position.size(); ++b) {
    EXPECT_EQ(got.by_position[b].from, want.by_position[b].from);
    EXPECT_EQ(got.by_position[b].predictions, want.by_position[b].predictions) << "bucket " << b;
    EXPECT_NEAR(got.by_position[b].nats, want.by_position[b].nats, kTolerance * want.nats) << "bucket " << b;
  }
}

/// Documents of very different lengths.
std::shared_ptr<const Corpus> documents_of(const ScratchDir& scratch, const std::vector<int64_t>& bytes,
                                           int64_t vocabulary) {
  std::vector<std::string> paths;
  for (size_t i = 0; i < bytes.size(); ++i) {
    paths.push_back(scratch / fmt::format("{:03}", i));
    write_file(paths.back(), some_text(bytes[i], i + 1));
  }
  return open_corpus(paths, *make_tokenizer("bytes", vocabulary));
}

const std::vector<EvalLayout> kOfOneText = {{.cp = 2, .chunk = 7},
                                            {.cp = 3, .chunk = 1},
                                            {.cp = 4, .chunk = 64},
                                            {.cp = 4, .chunk = 1000},
                                            {.cp = 2, .link = kByScan, .chunk = 7},
                                            {.cp = 3, .link = kByScan, .chunk = 1},
                                            {.cp = 4, .ep = 2, .chunk = 16},
                                            {.cp = 4, .ep = 4, .link = kByScan, .chunk = 16}};

TEST(EvalOverRanks, OneTextReadTogetherEqualsOneProcess) {
  const ScratchDir scratch;
  for (const int64_t vocabulary : {257, 256}) {
    const auto corpus = documents_of(scratch, {90, 1, 40, 301}, vocabulary);
    AssembledModel whole = small_model(eval_model(vocabulary), Dtype::kF64);
    for (const Documents documents : {Documents::kPacked, Documents::kJoined}) {
      const auto read = [&](int64_t chunk) {
        return [&, chunk](Model& m, Context& ctx, const Ranks& ranks) {
          return evaluate_stream(m, ctx, *corpus, documents, chunk, ranks);
        };
      };
      const EvalFigures want = figures_of({}, *whole, read(16));
      for (const EvalLayout& l : kOfOneText) {
        SCOPED_TRACE(fmt::format("vocabulary {} cp {} ep {} chunk {}", vocabulary, l.cp, l.ep, l.chunk));
        expect_equal_figures(figures_of(l, *whole, read(l.chunk)), want);
      }
    }
  }
}

/// A corpus of which two tokens of five are to be predicted, as in a conversation.
class MaskedCorpus final : public Corpus {
 public:
  explicit MaskedCorpus(std::shared_ptr<const Corpus> all) : all_(std::move(all)) {}
  std::string name() const override { return all_->name(); }
  int64_t size() const override { return all_->size(); }
  int64_t documents() const override { return all_->documents(); }
  int64_t eod() const override { return all_->eod(); }
  void read(int64_t begin, int64_t count, int64_t* tokens, uint8_t* starts) const override {
    all_->read(begin, count, tokens, starts);
  }
  bool masks_loss() const override { return true; }
  void read_loss(int64_t begin, int64_t count, uint8_t* loss) const override {
    for (int64_t i = 0; i < count; ++i) loss[i] = (begin + i) % 5 < 2 ? 1 : 0;
  }
  int64_t text_bytes(int64_t begin, int64_t count) const override { return all_->text_bytes(begin, count); }
  std::vector<DataFile> files() const override { return all_->files(); }

 private:
  std::shared_ptr<const Corpus> all_;
};

TEST(EvalOverRanks, OnlyWhatIsLearntCounts) {
  const ScratchDir scratch;
  const auto corpus = std::make_shared<MaskedCorpus>(documents_of(scratch, {90, 1, 40, 301}, 257));
  int64_t predictions = 0, bytes = 0;
  for (int64_t at = 1; at < corpus->size(); ++at) {
    uint8_t learnt = 0;
    corpus->read_loss(at, 1, &learnt);
    predictions += learnt;
    bytes += learnt == 1 ? corpus->text_bytes(at, 1) : 0;
  }
  AssembledModel whole = small_model(eval_model(257), Dtype::kF64);
  const auto stream = [&](Model& m, Context& ctx, const Ranks& ranks) {
    return evaluate_stream(m, ctx, *corpus, Documents::kPacked, 16, ranks);
  };
  const auto one_window = [&](Model& m, Context& ctx, const Ranks& ranks) {
    return evaluate(m, ctx, EvalWindows(corpus, Documents::kPacked, corpus->size(), corpus->size()), 1, 16,
                    ranks);
  };
  const EvalFigures want = figures_of({}, *whole, stream);
  EXPECT_EQ(want.predictions, predictions);
  EXPECT_EQ(want.bytes, bytes);
  expect_equal_figures(figures_of({.cp = 4, .chunk = 16}, *whole, stream), want);
  const EvalFigures window = figures_of({}, *whole, one_window);
  EXPECT_EQ(window.predictions, predictions);
  EXPECT_EQ(window.bytes, bytes);
  EXPECT_NEAR(window.nats, want.nats, 1e-12 * want.nats);
}

// Down to texts with fewer tokens than ranks, which every rank reads alone and one counts.
TEST(EvalOverRanks, TextsOfEveryLength) {
  AssembledModel whole = small_model(eval_model(257), Dtype::kF64);
  for (int64_t bytes = 1; bytes < 45; ++bytes) {
    const ScratchDir scratch;
    const auto corpus = documents_of(scratch, {bytes}, 257);
    const auto read = [&](Model& m, Context& ctx, const Ranks& ranks) {
      return evaluate_stream(m, ctx, *corpus, Documents::kPacked, 4, ranks);
    };
    SCOPED_TRACE(fmt::format("{} bytes", bytes));
    const EvalFigures want = figures_of({}, *whole, read);
    expect_equal_figures(figures_of({.cp = 4}, *whole, read), want);
    expect_equal_figures(figures_of({.cp = 3, .ep = 3, .link = kByScan}, *whole, read), want);
  }
}

TEST(EvalOverRanks, WindowsEqualOneProcess) {
  const ScratchDir scratch;
  const auto corpus = documents_of(scratch, {90, 1, 40, 301}, 257);
  AssembledModel whole = small_model(eval_model(257), Dtype::kF64);
  for (const int64_t length : {3, 50, 1000}) {
    const EvalWindows windows(corpus, Documents::kPacked, length, corpus->size());
    const auto read = [&](int64_t chunk, int64_t rows) {
      return [&, chunk, rows](Model& m, Context& ctx, const Ranks& ranks) {
        return evaluate(m, ctx, windows, rows, chunk, ranks);
      };
    };
    const EvalFigures want = figures_of({}, *whole, read(16, 4));
    for (const EvalLayout& l :
         {EvalLayout{.dp = 4, .ep = 2}, EvalLayout{.dp = 2, .cp = 2, .ep = 4},
          EvalLayout{.dp = 2, .cp = 2, .link = kByScan, .chunk = 5}, EvalLayout{.cp = 4, .chunk = 8},
          EvalLayout{.cp = 3, .ep = 3, .link = kByScan, .chunk = 8}}) {
      SCOPED_TRACE(fmt::format("length {} dp {} cp {} ep {}", length, l.dp, l.cp, l.ep));
      expect_equal_figures(figures_of(l, *whole, read(l.chunk, 3)), want);
    }
  }
}

class EvalUnderMpirun : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!built_with_mpi()) GTEST_SKIP() << "this build has no MPI";
    write_file(text(), some_text(3000, 5));
  }
  std::string text() const { return scratch_ / "text"; }
  Outcome eval(int ranks, const std::vector<std::string>& more) const {
    std::vector<std::string> words = mpirun_words(ranks);
    words.insert(words.end(),
                 {"eval", trained_run(), "--data", text(), "--quiet", "--json", "--chunk", "100"});
    words.insert(words.end(), more.begin(), more.end());
    return any_program(words);
  }
  ScratchDir scratch_;
};

TEST_F(EvalUnderMpirun, SaysWhatOneProcessSays) {
  const json text_alone = natrix_json({"eval", trained_run(), "--data", text()});
  const json windows_alone = natrix_json({"eval", trained_run(), "--data", text(), "-c", "333"});
  const std::vector<std::vector<std::string>> settings = {{},
                                                          {"parallel.cp_link=scan", "parallel.ep=4"},
                                                          {"-c", "333"},
                                                          {"-c", "333", "parallel.cp=2", "parallel.ep=2"}};
  for (const std::vector<std::string>& more : settings) {
    const Outcome r = eval(4, more);
    SCOPED_TRACE(fmt::format("{}", fmt::join(more, " ")));
    ASSERT_EQ(r.status, 0) << r.err;
    ASSERT_TRUE(json::accept(r.out)) << "more or less than one object: " << r.out;
    const json got = json::parse(r.out);
    const json& want = !more.empty() && more[0] == "-c" ? windows_alone : text_alone;
    EXPECT_EQ(got["predictions"], want["predictions"]);
    EXPECT_EQ(got["bytes"], want["bytes"]);
    for (const char* figure : {"loss", "perplexity", "bits_per_byte"}) {
      EXPECT_NEAR(got[figure].get<double>(), want[figure].get<double>(), 1e-6 * want[figure].get<double>());
    }
    ASSERT_EQ(got["loss_by_position"].size(), want["loss_by_position"].size());
    for (size_t b = 0; b < want["loss_by_position"].size(); ++b) {
      const json &x = got["loss_by_position"][b], &y = want["loss_by_position"][b];
      EXPECT_EQ(x["predictions"], y["predictions"]);
      EXPECT_NEAR(x["loss"].get<double>(), y["loss"].get<double>(), 1e-5);
    }
  }
}

TEST_F(EvalUnderMpirun, RefusesMeshesThatDoNotFit) {
  const auto refused = [&](const std::vector<std::string>& more, const std::string& why) {
    const Outcome r = eval(2, more);
    EXPECT_EQ(r.status, 2) << r.err;
    EXPECT_EQ(r.out, "");
    EXPECT_NE(r.err.find(why), std::string::npos) << r.err;
  };
  refused({"parallel.dp=2"}, "set parallel.cp=2");
  refused({"parallel.cp=3"}, "parallel.cp: 3 does not divide the 2 ranks");
  refused({"parallel.pp=2"}, "parallel.pp: is not a key");
}

TEST_F(EvalUnderMpirun, CommandsOfOneProcessSaySo) {
  std::vector<std::string> words = mpirun_words(2);
  words.insert(words.end(), {"inspect", trained_run()});
  const Outcome r = any_program(words);
  EXPECT_EQ(r.status, 2) << r.err;
  EXPECT_NE(r.err.find("inspect works in one process, but 2 ranks were started"), std::string::npos) << r.err;
}

}  // namespace
}  // namespace natrix::test
