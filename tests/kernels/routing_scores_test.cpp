// Scores, choice and weights against definitions written out here, the CPU kernels against the reference on
// every instruction set of this machine, gradients against differences.
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>
#include <set>

#include "kernels/routing.h"
#include "tests/kernels/routing_case.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

using RoutingScoresOnTargets = OnEveryTarget;
INSTANTIATE_TEST_SUITE_P(Targets, RoutingScoresOnTargets, ::testing::ValuesIn(every_target()), target_name);

double absolute_difference(View got, View want) {
  return relative_difference(got, want) * largest(want);
}

/// The definition of the choice: sort by score + bias, stable, so that ties keep the smaller index first.
std::vector<int32_t> ranked(const Routed& r, int64_t t) {
  const float* score = r.scores.view().row<float>(t);
  const float* bias = r.options.bias ? r.bias.view().as<float>() : nullptr;
  const auto key = [&](int32_t e) { return bias == nullptr ? score[e] : score[e] + bias[e]; };
  std::vector<int32_t> order(static_cast<size_t>(r.experts()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return key(a) > key(b); });
  return order;
}

void expect_choice_and_weights(const Routed& r) {
  for (int64_t t = 0; t < r.tokens(); ++t) {
    std::vector<int32_t> want = ranked(r, t);
    want.resize(static_cast<size_t>(r.top_k()));
    const int32_t* chosen = r.expert.view().row<int32_t>(t);
    ASSERT_EQ(std::vector<int32_t>(chosen, chosen + r.top_k()), want) << "token " << t;

    const float *score = r.scores.view().row<float>(t), *weight = r.weight.view().row<float>(t);
    double divisor = r.options.renormalize ? 0.0 : 1.0;
    for (int32_t e : want) divisor += r.options.renormalize ? static_cast<double>(score[e]) : 0.0;
    for (int64_t j = 0; j < r.top_k(); ++j) {
      const double w = r.options.scale * static_cast<double>(score[chosen[j]]) / divisor;
      ASSERT_NEAR(weight[j], w, w * f32_tolerance(r.top_k())) << "token " << t;
    }
  }
}

/// Every combination of options, at shapes that leave tiles unfilled.
std::vector<Routed> cases(Random& random) {
  std::vector<Routed> all;
  for (const RouteOptions& options : RouteOptions::all()) {
    for (int64_t experts : {1, 2, 3, 7, 8, 64, 67}) {
      for (int64_t tokens : {1, 5, 16, 37}) {
        all.emplace_back(random, Dtype::kF32, tokens, experts, random.integer(1, experts), options);
      }
    }
  }
  return all;
}

TEST_P(RoutingScoresOnTargets, ForwardMatchesReferenceAndDefinition) {
  Random random;
  SCOPED_TRACE("NATRIX_TEST_SEED=" + std::to_string(random.seed()));
  Context reference(Backend::kReference), cpu(backend());
  for (Routed& fast : cases(random)) {
    SCOPED_TRACE(fast.to_string());
    Routed exact = fast.inputs_as(Dtype::kF64), plain = fast.inputs_as(Dtype::kF32);
    fast.run(cpu);
    exact.run(reference);
    plain.run(reference);
    EXPECT_LT(relative_difference(fast.scores.view(), exact.scores.view()), f32_tolerance(fast.experts()));
    // The largest logit + log Σ: the two may cancel.
    EXPECT_LT(absolute_difference(fast.logsumexp.view(), exact.logsumexp.view()),
              (largest(fast.logits.view()) + 1) * f32_tolerance(fast.experts()));
    expect_choice_and_weights(fast);
    expect_choice_and_weights(plain);
  }
}

/// The definition of the choice limited to groups, written out: the best groups by their two largest keys.
std::vector<int32_t> ranked_in_groups(const Routed& r, int64_t t, int64_t groups, int64_t top_groups) {
  const int64_t size = r.experts() / groups;
  const float *score = r.scores.view().row<float>(t), *bias = r.bias.view().as<float>();
  const auto key = [&](int64_t e) { return score[e] + (r.options.bias ? bias[e] : 0.0f); };
  std::vector<std::pair<float, int64_t>> worth;  // negated, so that ties keep the smaller group first
  for (int64_t g = 0; g < groups; ++g) {
    std::vector<float> keys;
    for (int64_t e = g * size; e < (g + 1) * size; ++e) keys.push_back(key(e));
    std::sort(keys.rbegin(), keys.rend());
    worth.emplace_back(-(size > 1 ? keys[0] + keys[1] : keys[0]), g);
  }
  std::sort(worth.begin(), worth.end());
  std::set<int64_t> best;
  for (int64_t j = 0; j < top_groups; ++j) best.insert(worth[static_cast<size_t>(j)].second);
  std::vector<int32_t> order = ranked(r, t);
  std::erase_if(order, [&](int32_t e) { return !best.contains(e / size); });
  return order;
}

TEST_P(RoutingScoresOnTargets, AChoiceLimitedToGroupsFollowsItsDefinition) {
  Random random;
  SCOPED_TRACE("NATRIX_TEST_SEED=" + std::to_string(random.seed()));
  Context reference(Backend::kReference), cpu(backend());
  for (const RouteOptions& options : RouteOptions::all()) {
    for (const auto& [groups, size] : {std::pair<int64_t, int64_t>{2, 1}, {2, 3}, {4, 2}, {8, 8}, {5, 7}}) {
      const int64_t top_groups = random.integer(1, groups), top_k = random.integer(1, top_groups * size);
      for (Context* ctx : {&reference, &cpu}) {
        Routed r(random, Dtype::kF32, 37, groups * size, top_k, options);
        RouteForward args = r.args();
        args.groups = groups;
        args.top_groups = top_groups;
        route_forward(*ctx, args);
        for (int64_t t = 0; t < r.tokens(); ++t) {
          std::vector<int32_t> want = ranked_in_groups(r, t, groups, top_groups);
          want.resize(static_cast<size_t>(top_k));
          const int32_t* chosen = r.expert.view().row<int32_t>(t);
          ASSERT_EQ(std::vector<int32_t>(chosen, chosen + top_k), want) << r.to_string() << ", token " << t;
        }
      }
    }
  }
}

TEST_P(RoutingScoresOnTargets, NansInGroupsStillChooseDifferentExperts) {
  Random random;
  Context cpu(backend());
  Routed r(random, Dtype::kF32, 17, 12, 6, {});
  for (int64_t t = 0; t < 17; ++t) {
    for (int64_t e = 0; e < 12; ++e) {
      if ((t + e) % 2 == 0) r.logits.view().row<float>(t)[e] = std::numeric_limits<float>::quiet_NaN();
    }
  }
  RouteForward args = r.args();
  args.groups = 4;
  args.top_groups = 2;
  route_forward(cpu, args);
  for (int64_t t = 0; t < 17; ++t) {
    const int32_t* chosen = r.expert.view().row<int32_t>(t);
    EXPECT_EQ(std::set<int32_t>(chosen, chosen + 6).size(), 6u) << "token " << t;
  }
}

TEST_P(RoutingScoresOnTargets, BackwardMatchesReference) {
  Random random;
  SCOPED_TRACE("NATRIX_TEST_SEED=" + std::to_string(random.seed()));
  Context reference(Backend::kReference), cpu(backend());
  for (Routed& fast : cases(random)) {
    SCOPED_TRACE(fast.to_string());
    fast.run(cpu);
    const Routed exact = fast.all_as(Dtype::kF64);  // the same scores, rounded as they are
    const RouteLoss got(random, fast, random.integer(0, 1) == 1, 0.3), want = got.as(Dtype::kF64);
    route_backward(cpu, got.args(fast));
    route_backward(reference, want.args(exact));
    // Terms of the Jacobian and of the quotient rule cancel: errors scale with the largest term, not with the
    // sum.
    const double term = 2 * fast.options.scale * largest(got.dweight.view()) +
                        2 * largest(got.balance.view()) + 2 * got.z_scale * largest(fast.logsumexp.view());
    EXPECT_LT(absolute_difference(got.dlogits.view(), want.dlogits.view()),
              term * f32_tolerance(fast.experts()));
  }
}

TEST_P(RoutingScoresOnTargets, LogitsOfAnySizeGiveFiniteScores) {
  Random random;
  for (Backend backend : backends()) {
    Context ctx(backend);
    for (const RouteOptions& options : RouteOptions::all()) {
      Routed r(random.normal(Dtype::kF32, {19, 7}, 500.0), Buffer(Dtype::kF32, {7}), 3, options);
      r.run(ctx);
      for (View v : {r.scores.view(), r.weight.view(), r.logsumexp.view()}) {
        EXPECT_TRUE(
            std::all_of(v.as<float>(), v.as<float>() + v.count(), [](float x) { return std::isfinite(x); }))
            << name_of(backend) << " " << options.to_string();
      }
    }
  }
}

TEST_P(RoutingScoresOnTargets, TiesGoToTheSmallerIndex) {
  Random random;
  for (Backend backend : backends()) {
    Context ctx(backend);
    Buffer few_values(Dtype::kF32, {40, 13});  // three values among thirteen experts
    std::generate_n(few_values.view().as<float>(), 40 * 13,
                    [&] { return static_cast<float>(random.integer(0, 2)); });
    Routed r(std::move(few_values), {}, 6, {});
    r.run(ctx);
    expect_choice_and_weights(r);

    Routed equal(Buffer(Dtype::kF32, {3, 13}), {}, 13, {});
    equal.run(ctx);
    for (int64_t j = 0; j < 13; ++j) EXPECT_EQ(equal.expert.view().row<int32_t>(2)[j], j);
  }
}

TEST_P(RoutingScoresOnTargets, NansStillChooseDifferentExperts) {
  Random random;
  for (Backend backend : backends()) {
    Context ctx(backend);
    for (double share : {0.3, 1.0}) {
      Routed r(random, Dtype::kF32, 50, 9, 4, {.score = RouterScore::kSigmoid});
      float* logit = r.logits.view().as<float>();
      for (int64_t i = 0; i < 50 * 9; ++i) {
        if (random.uniform(0, 1) < share) logit[i] = std::numeric_limits<float>::quiet_NaN();
      }
      r.run(ctx);
      for (int64_t t = 0; t < 50; ++t) {
        const int32_t* chosen = r.expert.view().row<int32_t>(t);
        const std::set<int32_t> different(chosen, chosen + 4);
        EXPECT_EQ(different.size(), 4u);
        EXPECT_GE(*different.begin(), 0);
        EXPECT_LT(*different.rbegin(), 9);
      }
    }
  }
}

TEST_P(RoutingScoresOnTargets, UnderflowingSigmoidsGiveZerosAndNoNans) {
  Random random;
  for (Backend backend : backends()) {
    Context ctx(backend);
    Buffer logits(Dtype::kF32, {3, 5});
    std::fill_n(logits.view().as<float>(), 15, -200.0f);
    Routed r(std::move(logits), {}, 2, {.score = RouterScore::kSigmoid, .renormalize = true});
    r.run(ctx);
    for (int64_t s = 0; s < 6; ++s) EXPECT_EQ(r.weight.view().as<float>()[s], 0.0f);
    const RouteLoss loss(random, r, true, 0.1);
    route_backward(ctx, loss.args(r));
    for (int64_t i = 0; i < 15; ++i) EXPECT_TRUE(std::isfinite(loss.dlogits.view().as<float>()[i]));
  }
}

void expect_same_bits(const Routed& a, const RouteLoss& da, const Routed& b, const RouteLoss& db) {
  EXPECT_TRUE(same_bits(a.scores.view(), b.scores.view()));
  EXPECT_TRUE(same_bits(a.expert.view(), b.expert.view()));
  EXPECT_TRUE(same_bits(a.weight.view(), b.weight.view()));
  EXPECT_TRUE(same_bits(a.logsumexp.view(), b.logsumexp.view()));
  EXPECT_TRUE(same_bits(da.dlogits.view(), db.dlogits.view()));
}

TEST_P(RoutingScoresOnTargets, BitsDoNotDependOnThreads) {
  Random random;
  for (RouterScore score : {RouterScore::kSoftmax, RouterScore::kSigmoid}) {
    Context one(backend(), 1);
    Routed r(random, Dtype::kF32, 1201, 67, 5, {score, true, true});
    r.run(one);
    const RouteLoss loss(random, r, true, 0.3);
    route_backward(one, loss.args(r));
    for (int threads : {2, 3}) {
      Context ctx(backend(), threads);
      Routed other = r.inputs_as(Dtype::kF32);
      const RouteLoss other_loss = loss.as(Dtype::kF32);
      other.run(ctx);
      route_backward(ctx, other_loss.args(other));
      expect_same_bits(other, other_loss, r, loss);
    }
  }
}

/// Forward and backward of tokens [begin, begin + n) alone.
void run_part(Context& ctx, const Routed& r, const RouteLoss& loss, int64_t begin, int64_t n) {
  const auto part = [&](const Buffer& b) { return b.view().row_range(begin, n); };
  const View logsumexp = r.logsumexp.view().columns(begin, n);
  RouteForward f = r.args();
  f.logits = part(r.logits);
  f.scores = part(r.scores);
  f.expert = part(r.expert);
  f.weight = part(r.weight);
  f.logsumexp = logsumexp;
  route_forward(ctx, f);
  RouteBackward b = loss.args(r);
  b.logits = f.logits;
  b.scores = f.scores;
  b.expert = f.expert;
  b.weight = f.weight;
  b.logsumexp = logsumexp;
  b.dweight = part(loss.dweight);
  b.dlogits = part(loss.dlogits);
  route_backward(ctx, b);
}

TEST_P(RoutingScoresOnTargets, BitsDoNotDependOnOtherTokens) {
  Random random;
  Context ctx(backend());
  constexpr int64_t kTokens = 301;
  for (RouterScore score : {RouterScore::kSoftmax, RouterScore::kSigmoid}) {
    Routed whole(random, Dtype::kF32, kTokens, 67, 5, {score, true, true});
    const RouteLoss loss(random, whole, true, 0.3);
    whole.run(ctx);
    route_backward(ctx, loss.args(whole));

    const Routed pieces = whole.inputs_as(Dtype::kF32);
    const RouteLoss pieces_loss = loss.as(Dtype::kF32);
    for (int64_t begin = 0, n = 1; begin < kTokens; begin += n, n = std::min(n + 6, kTokens - begin)) {
      run_part(ctx, pieces, pieces_loss, begin, n);
    }
    expect_same_bits(pieces, pieces_loss, whole, loss);
  }
}

/// Whether no token's choice is about to change: it is piecewise constant, and differences must not cross a
/// border.
bool well_separated(const Routed& r) {
  for (int64_t t = 0; t < r.tokens(); ++t) {
    const double *score = r.scores.view().row<double>(t), *bias = r.bias.view().as<double>();
    std::vector<double> key(score, score + r.experts());
    for (size_t e = 0; r.options.bias && e < key.size(); ++e) key[e] += bias[e];
    std::sort(key.begin(), key.end());
    for (size_t e = 1; e < key.size(); ++e) {
      if (key[e] - key[e - 1] < 1e-4) return false;
    }
  }
  return true;
}

/// Of the reference, with a step far below the separation.
void expect_gradient(Random& random, int64_t top_k, const RouteOptions& options, bool balanced,
                     double z_scale) {
  Context ctx(Backend::kReference);
  Routed r(random, Dtype::kF64, 5, 7, top_k, options);
  for (r.run(ctx); !well_separated(r); r.run(ctx)) r.logits = random.normal(Dtype::kF64, {5, 7}, 2.0);
  const RouteLoss loss(random, r, balanced, z_scale);
  route_backward(ctx, loss.args(r));
  if (options.renormalize && top_k == 1 && !balanced && z_scale == 0) {  // the weight is a constant
    EXPECT_LT(largest(loss.dlogits.view()), 1e-14);
    return;
  }
  const double error = finite_difference_error(r.logits.view(), loss.dlogits.view(), [&] {
    r.run(ctx);
    return loss.value(r);
  });
  EXPECT_LT(error, 2e-7) << r.to_string() << (balanced ? ", balance" : "") << ", z " << z_scale;
}

TEST(RoutingScores, GradientMatchesDifferences) {
  Random random;
  SCOPED_TRACE("NATRIX_TEST_SEED=" + std::to_string(random.seed()));
  for (const RouteOptions& options : RouteOptions::all()) {
    for (bool balanced : {false, true}) {
      for (double z_scale : {0.0, 0.7}) {
        for (int64_t top_k : {1, 3, 7}) expect_gradient(random, top_k, options, balanced, z_scale);
      }
    }
  }
}

struct Tallied {
  explicit Tallied(int64_t experts)
      : counts(Dtype::kF64, {experts}), score_sum(Dtype::kF64, {experts}), squares(Dtype::kF64, {1}) {}
  void add(Context& ctx, const Routed& r, int64_t begin, int64_t n) {
    route_tally(ctx, {.scores = r.scores.view().row_range(begin, n),
                      .expert = r.expert.view().row_range(begin, n),
                      .logsumexp = r.logsumexp.view().columns(begin, n),
                      .score = r.options.score,
                      .counts = counts.view(),
                      .score_sum = score_sum.view(),
                      .squared_logsumexp = squares.view()});
  }
  Buffer counts, score_sum, squares;
};

TEST(RoutingScores, TallyCountsAndDoesNotDependOnChunks) {
  Random random;
  Context ctx(Backend::kCpu);
  for (RouterScore score : {RouterScore::kSoftmax, RouterScore::kSigmoid}) {
    Routed r(random, Dtype::kF32, 61, 7, 2, {.score = score});
    r.run(ctx);
    Tallied whole(7), pieces(7);
    whole.add(ctx, r, 0, 61);
    for (int64_t begin = 0; begin < 61; begin += 9)
      pieces.add(ctx, r, begin, std::min<int64_t>(9, 61 - begin));
    EXPECT_TRUE(same_bits(whole.counts.view(), pieces.counts.view()));
    EXPECT_TRUE(same_bits(whole.score_sum.view(), pieces.score_sum.view()));
    EXPECT_TRUE(same_bits(whole.squares.view(), pieces.squares.view()));

    const double *counts = whole.counts.view().as<double>(), *sums = whole.score_sum.view().as<double>();
    const int32_t* chosen = r.expert.view().as<int32_t>();
    for (int32_t e = 0; e < 7; ++e)
      EXPECT_EQ(counts[e], static_cast<double>(std::count(chosen, chosen + 2 * 61, e)));
    for (int64_t e = 0; e < 7; ++e) {
      double want = 0;
      for (int64_t t = 0; t < 61; ++t) {
        const float* s = r.scores.view().row<float>(t);
        want += static_cast<double>(s[e]) /
                (score == RouterScore::kSigmoid ? std::accumulate(s, s + 7, 0.0) : 1.0);
      }
      EXPECT_NEAR(sums[e], want, 1e-12 * want);
    }
    EXPECT_NEAR(*whole.squares.view().as<double>(), dot(r.logsumexp.view(), r.logsumexp.view()), 1e-9);
  }
}

TEST(RoutingScores, ChecksItsShapes) {
  Random random;
  for (Backend backend : backends()) {
    Context ctx(backend);
    Routed empty(random, Dtype::kF32, 0, 4, 2, {});
    empty.run(ctx);
    Routed too_many(random, Dtype::kF32, 3, 4, 5, {});
    EXPECT_THROW(too_many.run(ctx), ContractError);
    Routed r(random, Dtype::kF32, 3, 4, 2, {});
    RouteForward wrong = r.args();
    wrong.weight = r.scores.view();
    EXPECT_THROW(route_forward(ctx, wrong), ContractError);
  }
}

}  // namespace
}  // namespace natrix::test
