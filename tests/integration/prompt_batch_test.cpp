// Prompts of different lengths that are continued together get the bits that each gets alone.
#include "core/generate/prompt_batch.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>

#include "core/sequence/diagnose.h"
#include "tests/launch/small_model.h"

namespace natrix::test {
namespace {

constexpr int64_t kChunk = 16;  // the same alone and together: scans of Mamba-2 divide their sums by it

using Logits = std::vector<std::vector<float>>;  // of each token drawn

struct Continued {
  std::vector<int64_t> tokens;
  Logits logits;
  bool operator==(const Continued& other) const {
    const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
      return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
    };
    return tokens == other.tokens && std::ranges::equal(logits, other.logits, same);
  }
};

std::vector<PromptRow> some_prompts(const std::vector<int64_t>& lengths, const std::vector<int64_t>& counts) {
  std::vector<PromptRow> rows;
  for (size_t i = 0; i < lengths.size(); ++i) {
    const SmallBatch text = small_batch(1, lengths[i], 17, /*seed=*/i + 1, /*starts=*/0);
    const int64_t* t = text.tokens.view().as<int64_t>();
    const SamplerConfig sampler{.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 9};
    rows.push_back({.prompt = {t, t + lengths[i]},
                    .sampler = Sampler(sampler),
                    .continuation = Continuation(nullptr, {.tokens = counts[i], .ids = {16}})});
  }
  return rows;
}

/// The plain way: one session, one prompt.
Continued alone(Model& model, Context& ctx, PromptRow row) {
  Session session(model, ctx, 1, kChunk);
  session.feed(View(row.prompt.data(), Dtype::kI64, {1, std::ssize(row.prompt)}));
  Continued result;
  while (!row.continuation.ended()) {
    const View logits = session.logits();
    const std::span<const float> of_row(logits.as<float>(), static_cast<size_t>(logits.count()));
    int64_t token = row.sampler.sample(of_row);
    result.logits.emplace_back(of_row.begin(), of_row.end());
    row.continuation.push(token);
    session.feed(View(&token, Dtype::kI64, {1, 1}));
  }
  result.tokens = row.continuation.tokens();
  return result;
}

/// On a GPU the kernel of a product depends on the number of its rows.
bool nearly_same(const Continued& a, const Continued& b) {
  const auto near = [](const std::vector<float>& x, const std::vector<float>& y) {
    return std::ranges::equal(x, y, [](float p, float q) { return std::abs(p - q) < 1e-3f; });
  };
  return a.tokens == b.tokens && std::ranges::equal(a.logits, b.logits, near);
}

struct BatchCase {
  std::string name, pattern;
  Backend backend;
};

class PromptBatchOn : public ::testing::TestWithParam<BatchCase> {};

TEST_P(PromptBatchOn, EveryPromptGetsItsBitsOfRunningAlone) {
  Context ctx(GetParam().backend);
  const AssembledModel model = small_model(small_config(GetParam().pattern), Dtype::kF32, ctx.memory());
  const std::vector<int64_t> lengths = {1, 70, 5, 64, 2, 131, 5}, counts = {90, 12, 1, 70, 0, 30, 33};
  const std::vector<PromptRow> prompts = some_prompts(lengths, counts);
  std::vector<Continued> want;
  for (const PromptRow& p : prompts) want.push_back(alone(*model, ctx, p));
  EXPECT_NE(want[2].logits, want[6].logits);
  for (const int64_t together : {7, 3, 1}) {
    std::vector<PromptRow> rows = prompts;
    std::vector<Continued> got(rows.size());
    std::vector<int> ended(rows.size());
    PromptBatch batch(*model, ctx, rows, {.together = together, .chunk = kChunk},
                      {.drawn = [&](size_t row, std::span<const float> logits,
                                    int64_t) { got[row].logits.emplace_back(logits.begin(), logits.end()); },
                       .ended = [&](size_t row) { return ++ended[row] > 0; }});
    batch.run();
    for (size_t i = 0; i < rows.size(); ++i) {
      got[i].tokens = rows[i].continuation.tokens();
      const bool same = ctx.backend() == Backend::kCuda ? nearly_same(got[i], want[i]) : got[i] == want[i];
      EXPECT_TRUE(same) << "prompt " << i << " of " << together << " together";
      EXPECT_EQ(ended[i], 1) << i;
    }
  }
}

std::vector<BatchCase> batch_cases() {
  std::vector<BatchCase> cases;
  for (const Backend backend : {Backend::kReference, Backend::kCpu}) {
    const std::string on = name_of(backend);
    cases.push_back({"mamba_moe_" + on, "ME", backend});
    cases.push_back({"hybrid_" + on, "SE*-", backend});
    cases.push_back({"parallel_" + on, "(S*)-M", backend});
  }
  if (has_cuda()) cases.push_back({"mamba_moe_cuda", "ME", Backend::kCuda});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Models, PromptBatchOn, ::testing::ValuesIn(batch_cases()),
                         [](const auto& info) { return info.param.name; });

TEST(PromptBatch, NamesThePromptWhoseNumbersAreNotFinite) {
  Context ctx(Backend::kCpu);
  ModelConfig config = small_config();
  config.tie_embeddings = false;
  const AssembledModel model = small_model(config, Dtype::kF32);
  std::vector<PromptRow> rows = some_prompts({3, 4}, {5, 5});
  rows[0].prompt = {1, 2, 3};
  rows[1].prompt = {1, 2, 3, 7};
  model->visit([](Param& p) {
    if (p.name.find("embed") != std::string::npos) p.value.row<float>(7)[0] = std::nanf("");
  });
  PromptBatch batch(*model, ctx, rows, {},
                    {.explain = [](size_t row) { return "row " + std::to_string(row); }});
  try {
    batch.run();
    ADD_FAILURE() << "nothing was said";
  } catch (const NonfiniteError& e) {
    EXPECT_STREQ(e.what(), "the logits of prompt 2, position 3 are not finite: row 1");
  }
}

}  // namespace
}  // namespace natrix::test
