// Several ranks read a prefix together. The session equals that of one rank that reads it alone.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/files/safetensors.h"
#include "core/generate/joint_prefill.h"
#include "distributed/mpi_communicator.h"
#include "distributed/thread_communicator.h"
#include "tests/launch/ranks.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

constexpr int64_t kPrefixRows = 2, kLongestPrefix = 61;

struct PrefixLayout {
  int cp;
  CarryLinkKind link;
  int64_t chunk;
};

/// What a session holds, and the logits that follow.
struct Stand {
  CarryStates states;
  Buffer pending, logits;
  int64_t position = 0;
};

Stand stand_of(Session& session) {
  Stand s{.states = copy_of(session.states()), .pending = {}, .logits = {}, .position = session.position()};
  if (session.pending()) {
    s.pending = Buffer(Dtype::kI64, session.pending().shape);
    copy(session.pending(), s.pending.view());
  }
  s.logits = as(Dtype::kF64, session.logits());
  return s;
}

void expect_same_stand(const Stand& got, const Stand& want, double tolerance) {
  EXPECT_EQ(got.position, want.position);
  ASSERT_EQ(got.states.entries().size(), want.states.entries().size());
  for (const auto& [key, buffer] : want.states.entries()) {
    EXPECT_LT(relative_difference(got.states.at(key), buffer.view()), tolerance) << "layer " << key.layer;
  }
  ASSERT_EQ(static_cast<bool>(got.pending), static_cast<bool>(want.pending));
  for (int64_t b = 0; b < want.pending.view().rows(); ++b) {
    EXPECT_EQ(got.pending.view().row<int64_t>(b)[0], want.pending.view().row<int64_t>(b)[0]);
  }
  EXPECT_LT(relative_difference(got.logits.view(), want.logits.view()), std::max(tolerance, 1e-6));
}

struct Prefix : ::testing::TestWithParam<PrefixLayout> {
  /// `before` tokens are in the session that the prefix goes on from; the rest arrives in pieces.
  Stand read_alone(int64_t before, int64_t count) {
    Context ctx(Backend::kReference, 1);
    Session session(*model, ctx, kPrefixRows, 8);
    if (before > 0) session.feed(tokens.view().columns(0, before));
    if (count > 0) session.feed(tokens.view().columns(before, count));
    return stand_of(session);
  }
  Stand read_together(int64_t before, const std::vector<int64_t>& pieces) {
    const PrefixLayout& l = GetParam();
    ExperimentConfig config;
    config.model = model->config();
    config.parallel = {.dp = 1, .cp = l.cp, .cp_link = l.link, .timeout = 120};
    Stand first;
    run_ranks(l.cp, 120, [&](Transport& world) {
      Context ctx(Backend::kReference, 1);
      RunMesh mesh(config, ctx, &world);
      AssembledModel mine = assemble_model(config.model, Dtype::kF64, false, ctx.memory(), mesh.exchange());
      copy_weights(*model, *mine);
      Session session(*mine, ctx, kPrefixRows, l.chunk);
      if (before > 0) session.feed(tokens.view().columns(0, before));
      JointPrefill prefill(session, *mine, ctx, mesh.ranks(), l.chunk);
      int64_t at = before, reported = 0;
      for (int64_t n : pieces) {
        prefill.feed(tokens.view().columns(at, n), [&](int64_t done) { reported += done; });
        at += n;
      }
      prefill.finish([&](int64_t done) { reported += done; });
      EXPECT_LE(reported, at - before + 1);
      if (world.rank() == 0) first = stand_of(session);
    });
    return first;
  }

  AssembledModel model = small_model(small_config(), Dtype::kF64);
  Buffer tokens = small_batch(kPrefixRows, kLongestPrefix, 17).tokens;
};

// From a prefix with fewer tokens than ranks to several super-segments.
TEST_P(Prefix, OfAnyLengthIsReadAsByOneProcess) {
  for (int64_t length = 1; length <= kLongestPrefix; ++length) {
    SCOPED_TRACE(length);
    const Stand want = read_alone(0, length);
    expect_same_stand(read_together(0, {length}), want, 1e-12);
  }
}

TEST_P(Prefix, InPiecesAndFromASavedState) {
  const Stand want = read_alone(0, kLongestPrefix);
  expect_same_stand(read_together(0, {1, 20, 0, 1, 3, 36}), want, 1e-12);
  expect_same_stand(read_together(1, {20, 0, 1, 3, 36}), want, 1e-12);
  expect_same_stand(read_together(25, {36}), want, 1e-12);
  expect_same_stand(read_together(60, {1}), want, 1e-12);
  expect_same_stand(read_together(61, {}), want, 1e-12);
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, Prefix,
    ::testing::Values(PrefixLayout{2, CarryLinkKind::kRelay, 7}, PrefixLayout{3, CarryLinkKind::kRelay, 1},
                      PrefixLayout{4, CarryLinkKind::kRelay, 100}, PrefixLayout{2, CarryLinkKind::kScan, 7},
                      PrefixLayout{4, CarryLinkKind::kScan, 1}),
    [](const auto& info) {
      return fmt::format("cp{}{}_chunk{}", info.param.cp,
                         info.param.link == CarryLinkKind::kScan ? "scan" : "relay", info.param.chunk);
    });

class GenerateUnderMpirun : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!built_with_mpi()) GTEST_SKIP() << "this build has no MPI";
    write_file(scratch_ / "text", some_text(3000, 5));
  }
  Outcome generate(const std::vector<std::string>& more, int ranks = 4) const {
    std::vector<std::string> words = mpirun_words(ranks);
    words.insert(words.end(), {"generate", trained_run(), "--quiet"});
    words.insert(words.end(), more.begin(), more.end());
    return any_program(words);
  }
  Outcome generate_alone(const std::vector<std::string>& more) const {
    std::vector<std::string> words = {"generate", trained_run(), "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    return natrix_program(words);
  }
  ScratchDir scratch_;
};

TEST_F(GenerateUnderMpirun, TheStateFileIsThatOfOneProcess) {
  const std::vector<std::string> prompt = {"--prompt-file", scratch_ / "text", "-n", "0", "--state-out"};
  const auto with = [&](const std::string& path, std::vector<std::string> more) {
    std::vector<std::string> all = prompt;
    all.push_back(scratch_ / path);
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  ASSERT_EQ(generate_alone(with("alone", {})).status, 0);
  const Safetensors want(scratch_ / "alone");
  const std::vector<std::vector<std::string>> settings = {{"--chunk", "100"},
                                                          {"--chunk", "100", "parallel.cp_link=scan"}};
  for (const std::vector<std::string>& more : settings) {
    SCOPED_TRACE(more.back());
    const Outcome r = generate(with("together", more));
    ASSERT_EQ(r.status, 0) << r.err;
    EXPECT_EQ(r.out, "");
    const Safetensors got(scratch_ / "together");
    EXPECT_EQ(got.metadata().at("model"), want.metadata().at("model"));
    EXPECT_EQ(got.metadata().at("tokens"), want.metadata().at("tokens"));
    ASSERT_EQ(got.tensors().size(), want.tensors().size());
    for (const auto& [name, tensor] : want.tensors()) {
      if (tensor.dtype != Dtype::kF32) continue;
      EXPECT_GT(largest(tensor), 0) << name;
      EXPECT_LT(relative_difference(got.at(name), tensor), 1e-5) << name;
    }
    const std::vector<std::string> go_on = {"-n", "30", "--temp", "0", "--state-in"};
    std::vector<std::string> from_alone = go_on, from_together = go_on;
    from_alone.push_back(scratch_ / "alone");
    from_together.push_back(scratch_ / "together");
    const Outcome said = generate_alone(from_together);
    EXPECT_EQ(said.status, 0) << said.err;
    EXPECT_EQ(said.out, generate_alone(from_alone).out);
  }
}

TEST_F(GenerateUnderMpirun, TheFirstRankGoesOnAlone) {
  const std::vector<std::string> words = {"--prompt-file", scratch_ / "text", "-n", "30", "--temp", "0"};
  const Outcome want = generate_alone(words), got = generate(words);
  ASSERT_EQ(got.status, 0) << got.err;
  EXPECT_EQ(got.out, want.out) << "once, and the same";
  const Outcome shortest = generate({"--prompt", "li", "-n", "5", "--temp", "0"}, 3);
  ASSERT_EQ(shortest.status, 0) << shortest.err;
  EXPECT_EQ(shortest.out, generate_alone({"--prompt", "li", "-n", "5", "--temp", "0"}).out);
}

TEST_F(GenerateUnderMpirun, SaysWhatRanksCannotDo) {
  const Outcome ep = generate({"--prompt", "the light", "parallel.ep=2"}, 2);
  EXPECT_EQ(ep.status, 2) << ep.err;
  EXPECT_NE(ep.err.find("natrix: parallel.ep: the rank that writes needs all experts"), std::string::npos)
      << ep.err;
  const Outcome input = generate({"--prompt-file", "-"}, 2);
  EXPECT_EQ(input.status, 2) << input.err;
  EXPECT_NE(input.err.find("standard input reaches one rank only"), std::string::npos) << input.err;
}

}  // namespace
}  // namespace natrix::test
