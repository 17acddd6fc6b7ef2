#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

#include "core/generate/session_file.h"
#include "core/hf/hf_checkpoint.h"
#include "tests/launch/program.h"
#include "tests/launch/small_model.h"

namespace natrix::test {
namespace {

constexpr int64_t kSequences = 2, kTokens = 37;

struct Fixture {
  explicit Fixture(Backend backend = Backend::kReference) : ctx(backend) {}

  Context ctx;
  AssembledModel model = small_model(small_config(), Dtype::kF32, ctx.memory());
  SmallBatch batch = small_batch(kSequences, kTokens, 17);
  View tokens(int64_t first, int64_t count) const { return batch.tokens.view().columns(first, count); }
};

Buffer logits_after(Fixture& f, int64_t chunk, const std::vector<int64_t>& pieces) {
  Session session(*f.model, f.ctx, kSequences, chunk);
  int64_t first = 0;
  for (int64_t n : pieces) {
    session.feed(f.tokens(first, n));
    first += n;
  }
  EXPECT_EQ(session.position(), first);
  return as(Dtype::kF32, session.logits());
}

class SessionOn : public ::testing::TestWithParam<Backend> {};

TEST_P(SessionOn, PiecesAndChunksDoNotMatter) {
  Fixture f(GetParam());
  const Buffer want = logits_after(f, kTokens, {kTokens});
  for (int64_t chunk : {16, 5, 1}) {
    EXPECT_LT(relative_difference(logits_after(f, chunk, {kTokens}).view(), want.view()), 1e-6);
    EXPECT_LT(relative_difference(logits_after(f, chunk, {1, 20, 0, 1, 15}).view(), want.view()), 1e-6);
  }
}

TEST_P(SessionOn, AFileGoesOnWhereItStopped) {
  Fixture f(GetParam());
  const ScratchDir scratch;
  const std::string hash = hash_weights(f.model->params());
  const Buffer want = logits_after(f, 8, {20, 17});
  std::vector<std::uintmax_t> sizes;
  for (int64_t n : {1, 2, 20}) {
    Session first(*f.model, f.ctx, kSequences, 8), second(*f.model, f.ctx, kSequences, 8);
    first.feed(f.tokens(0, n));
    save_session(scratch / "state", hash, first);
    sizes.push_back(std::filesystem::file_size(scratch / "state"));
    load_session(scratch / "state", hash, second);
    second.feed(f.tokens(n, kTokens - n));
    EXPECT_LT(relative_difference(second.logits(), want.view()), 1e-6) << n;
    EXPECT_EQ(second.position(), kTokens);
  }
  EXPECT_EQ(sizes[0], sizes[2]);
}

INSTANTIATE_TEST_SUITE_P(Backends, SessionOn, ::testing::ValuesIn(backends()), backend_name);

class SessionFrom : public ::testing::TestWithParam<std::tuple<Backend, Backend>> {};

TEST_P(SessionFrom, AFileGoesOnOnAnotherBackend) {
  Fixture reader(std::get<0>(GetParam())), writer(std::get<1>(GetParam()));
  const ScratchDir scratch;
  const std::string hash = hash_weights(reader.model->params());
  EXPECT_EQ(hash_weights(writer.model->params()), hash) << "the same weights, whatever memory they lie in";
  const Buffer want = logits_after(reader, 8, {kTokens});
  Session first(*reader.model, reader.ctx, kSequences, 8), second(*writer.model, writer.ctx, kSequences, 8);
  first.feed(reader.tokens(0, 20));
  save_session(scratch / "state", hash, first);
  load_session(scratch / "state", hash, second);
  second.feed(writer.tokens(20, kTokens - 20));
  EXPECT_LT(relative_difference(second.logits(), want.view()), 2e-5);
}

INSTANTIATE_TEST_SUITE_P(Backends, SessionFrom,
                         ::testing::Combine(::testing::ValuesIn(backends()), ::testing::ValuesIn(backends())),
                         [](const auto& info) {
                           return std::string(name_of(std::get<0>(info.param))) + "_to_" +
                                  name_of(std::get<1>(info.param));
                         });

TEST(Session, AFileOfAnotherModelOrBatchIsRefused) {
  Fixture f;
  const ScratchDir scratch;
  Session session(*f.model, f.ctx, kSequences, 8), single(*f.model, f.ctx, 1, 8);
  session.feed(f.tokens(0, 5));
  save_session(scratch / "state", "0123456789abcdef", session);
  EXPECT_THROW(load_session(scratch / "state", "fedcba9876543210", session), InputError);
  EXPECT_THROW(load_session(scratch / "state", "0123456789abcdef", single), InputError);
}

}  // namespace
}  // namespace natrix::test
