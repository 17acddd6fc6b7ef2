// Routing against definitions written out here, the CPU kernels against the reference, gradients against
// differences.
#include "kernels/routing.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>
#include <set>
#include <sys/mman.h>

#include "tests/kernels/cases.h"

namespace natrix {
namespace {

using test::Random;

struct Options {
  RouterScore score = RouterScore::kSoftmax;
  bool renormalize = false;
  bool bias = false;
};

std::string to_string(const Options& o) {
  return std::string(o.score == RouterScore::kSoftmax ? "softmax" : "sigmoid") +
         (o.renormalize ? " renormalize" : "") + (o.bias ? " bias" : "");
}

std::vector<Options> all_options() {
  std::vector<Options> all;
  for (RouterScore score : {RouterScore::kSoftmax, RouterScore::kSigmoid}) {
    for (bool renormalize : {false, true}) {
      for (bool bias : {false, true}) all.push_back({score, renormalize, bias});
    }
  }
  return all;
}

constexpr double kScale = 2.5;

/// Logits and what route_forward makes of them.
struct Routed {
  Routed(Buffer logits_, int64_t top_k, Options o, Buffer bias_)
      : options(o), logits(std::move(logits_)), bias(std::move(bias_)) {
    const Dtype dtype = logits.view().dtype;
    const int64_t tokens = logits.view().rows(), experts = logits.view().cols();
    scores = test::poisoned(dtype, {tokens, experts});
    weight = test::poisoned(dtype, {tokens, top_k});
    logsumexp = test::poisoned(dtype, {tokens});
    expert = Buffer(Dtype::kI32, {tokens, top_k});
  }
  Routed(Random& random, Dtype dtype, int64_t tokens, int64_t experts, int64_t top_k, Options o)
      : Routed(random.normal(dtype, {tokens, experts}, 2.0), top_k, o, random.normal(dtype, {experts}, 0.3)) {
  }

  RouteForward args() const {
    return {.logits = logits.view(),
            .bias = options.bias ? bias.view() : View{},
            .score = options.score,
            .renormalize = options.renormalize,
            .scale = kScale,
            .scores = scores.view(),
            .expert = expert.view(),
            .weight = weight.view(),
            .logsumexp = logsumexp.view()};
  }
  void run(Context& ctx) { route_forward(ctx, args()); }

  int64_t tokens() const { return logits.view().rows(); }
  int64_t experts() const { return logits.view().cols(); }
  int64_t top_k() const { return expert.view().cols(); }

  Options options;
  Buffer logits, bias, scores, weight, logsumexp, expert;
};

Routed as(Dtype dtype, const Routed& r) {
  Routed c(test::as(dtype, r.logits.view()), r.top_k(), r.options, test::as(dtype, r.bias.view()));
  c.scores = test::as(dtype, r.scores.view());
  c.weight = test::as(dtype, r.weight.view());
  c.logsumexp = test::as(dtype, r.logsumexp.view());
  copy(r.expert.view(), c.expert.view());
  return c;
}

double largest(View v) {
  double largest = 0;
  for_float(v.dtype, [&](auto zero) {
    for (int64_t i = 0; i < v.count(); ++i) {
      largest = std::max(largest, std::fabs(static_cast<double>(v.as<decltype(zero)>()[i])));
    }
  });
  return largest;
}

double absolute_difference(View got, View want) {
  return test::relative_difference(got, want) * largest(want);
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
    const std::vector<int32_t> order = ranked(r, t);
    const float* score = r.scores.view().row<float>(t);
    double sum = 0;
    for (int64_t j = 0; j < r.top_k(); ++j) sum += static_cast<double>(score[order[static_cast<size_t>(j)]]);
    for (int64_t j = 0; j < r.top_k(); ++j) {
      const int32_t e = order[static_cast<size_t>(j)];
      ASSERT_EQ(r.expert.view().row<int32_t>(t)[j], e) << "token " << t << " choice " << j;
      const double want = kScale * static_cast<double>(score[e]) / (r.options.renormalize ? sum : 1.0);
      ASSERT_NEAR(r.weight.view().row<float>(t)[j], want, want * test::f32_tolerance(r.top_k()))
          << "token " << t;
    }
  }
}

const std::vector<int64_t>& expert_counts() {
  static const std::vector<int64_t> counts = {1, 2, 3, 7, 8, 64, 67};
  return counts;
}

TEST(Routing, ForwardMatchesReferenceAndDefinition) {
  Random random;
  SCOPED_TRACE("NATRIX_TEST_SEED=" + std::to_string(random.seed()));
  Context reference(Backend::kReference), cpu(Backend::kCpu);
  for (const Options& o : all_options()) {
    for (int64_t experts : expert_counts()) {
      for (int64_t tokens : {1, 5, 16, 37}) {
        const int64_t top_k = random.integer(1, experts);
        SCOPED_TRACE(to_string(o) + " T " + std::to_string(tokens) + " E " + std::to_string(experts) + " k " +
                     std::to_string(top_k));
        Routed fast(random, Dtype::kF32, tokens, experts, top_k, o);
        Routed exact = as(Dtype::kF64, fast), plain = as(Dtype::kF32, fast);
        fast.run(cpu);
        exact.run(reference);
        plain.run(reference);
        EXPECT_LT(test::relative_difference(fast.scores.view(), exact.scores.view()),
                  test::f32_tolerance(experts));
        // largest + log Σ: the two may cancel.
        EXPECT_LT(absolute_difference(fast.logsumexp.view(), exact.logsumexp.view()),
                  (largest(fast.logits.view()) + 1) * test::f32_tolerance(experts));
        expect_choice_and_weights(fast);
        expect_choice_and_weights(plain);
      }
    }
  }
}

TEST(Routing, LogitsOfAnySizeGiveFiniteScores) {
  Context reference(Backend::kReference), cpu(Backend::kCpu);
  Random random;
  for (Context* ctx : {&reference, &cpu}) {
    for (const Options& o : all_options()) {
      Routed r(random.normal(Dtype::kF32, {19, 7}, 500.0), 3, o, Buffer(Dtype::kF32, {7}));
      r.run(*ctx);
      for (View v : {r.scores.view(), r.weight.view(), r.logsumexp.view()}) {
        EXPECT_TRUE(
            std::all_of(v.as<float>(), v.as<float>() + v.count(), [](float x) { return std::isfinite(x); }))
            << name_of(ctx->backend()) << " " << to_string(o);
      }
    }
  }
}

TEST(Routing, TiesGoToTheSmallerIndex) {
  Context reference(Backend::kReference), cpu(Backend::kCpu);
  Random random;
  for (Context* ctx : {&reference, &cpu}) {
    Buffer few_values(Dtype::kF32, {40, 13});  // three values among thirteen experts
    for (int64_t i = 0; i < 40 * 13; ++i)
      few_values.view().as<float>()[i] = static_cast<float>(random.integer(0, 2));
    Routed r(std::move(few_values), 6, {}, {});
    r.run(*ctx);
    expect_choice_and_weights(r);

    Routed equal(Buffer(Dtype::kF32, {3, 13}), 13, {}, {});
    equal.run(*ctx);
    for (int64_t j = 0; j < 13; ++j) EXPECT_EQ(equal.expert.view().row<int32_t>(2)[j], j);
  }
}

TEST(Routing, NansStillChooseDifferentExperts) {
  Context reference(Backend::kReference), cpu(Backend::kCpu);
  Random random;
  for (Context* ctx : {&reference, &cpu}) {
    for (double share : {0.3, 1.0}) {
      Routed r(random, Dtype::kF32, 50, 9, 4, {.score = RouterScore::kSigmoid});
      for (int64_t i = 0; i < r.logits.view().count(); ++i) {
        if (random.uniform(0, 1) < share)
          r.logits.view().as<float>()[i] = std::numeric_limits<float>::quiet_NaN();
      }
      r.run(*ctx);
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

struct Gradients {
  explicit Gradients(Random& random, const Routed& r, bool with_balance, double z)
      : dweight(random.normal(r.logits.view().dtype, r.weight.view().shape)),
        balance(random.normal(r.logits.view().dtype, {r.experts()})),
        dlogits(test::poisoned(r.logits.view().dtype, r.logits.view().shape)),
        has_balance(with_balance),
        z_scale(z) {}

  RouteBackward args(const Routed& r) const {
    return {.logits = r.logits.view(),
            .scores = r.scores.view(),
            .expert = r.expert.view(),
            .weight = r.weight.view(),
            .logsumexp = r.logsumexp.view(),
            .score = r.options.score,
            .renormalize = r.options.renormalize,
            .scale = kScale,
            .dweight = dweight.view(),
            .balance = has_balance ? balance.view() : View{},
            .z_scale = z_scale,
            .dlogits = dlogits.view()};
  }

  /// What args() is the gradient of.
  double loss(const Routed& r) const {
    double sum = test::dot(r.weight.view(), dweight.view());
    for (int64_t t = 0; t < r.tokens(); ++t) {
      const double *score = r.scores.view().row<double>(t), lse = r.logsumexp.view().as<double>()[t];
      const double total =
          r.options.score == RouterScore::kSigmoid ? std::accumulate(score, score + r.experts(), 0.0) : 1.0;
      for (int64_t e = 0; has_balance && e < r.experts(); ++e)
        sum += balance.view().as<double>()[e] * score[e] / total;
      sum += z_scale * lse * lse;
    }
    return sum;
  }

  Buffer dweight, balance, dlogits;
  bool has_balance;
  double z_scale;
};

/// Whether no token's choice is about to change: differences must not cross a border of the piecewise
/// constant choice.
bool well_separated(const Routed& r) {
  for (int64_t t = 0; t < r.tokens(); ++t) {
    std::vector<double> key(r.scores.view().row<double>(t), r.scores.view().row<double>(t) + r.experts());
    for (int64_t e = 0; r.options.bias && e < r.experts(); ++e)
      key[static_cast<size_t>(e)] += r.bias.view().as<double>()[e];
    std::sort(key.begin(), key.end());
    for (size_t e = 1; e < key.size(); ++e) {
      if (key[e] - key[e - 1] < 1e-4) return false;
    }
  }
  return true;
}

TEST(Routing, GradientMatchesDifferences) {
  Random random;
  SCOPED_TRACE("NATRIX_TEST_SEED=" + std::to_string(random.seed()));
  Context reference(Backend::kReference);
  for (const Options& o : all_options()) {
    for (bool balance : {false, true}) {
      for (double z : {0.0, 0.7}) {
        for (int64_t top_k : {1, 3, 7}) {
          SCOPED_TRACE(to_string(o) + (balance ? " balance" : "") + (z > 0 ? " z" : "") + " k " +
                       std::to_string(top_k));
          Routed r(random, Dtype::kF64, 5, 7, top_k, o);
          for (r.run(reference); !well_separated(r); r.run(reference))
            r.logits = random.normal(Dtype::kF64, {5, 7}, 2.0);
          const Gradients g(random, r, balance, z);
          route_backward(reference, g.args(r));
          const auto loss = [&] {
            r.run(reference);
            return g.loss(r);
          };
          if (o.renormalize && top_k == 1 && !balance && z == 0) {  // the weight is constant
            EXPECT_LT(largest(g.dlogits.view()), 1e-14);
          } else {
            EXPECT_LT(test::finite_difference_error(r.logits.view(), g.dlogits.view(), loss), 2e-7);
          }
        }
      }
    }
  }
}

TEST(Routing, BackwardMatchesReference) {
  Random random;
  SCOPED_TRACE("NATRIX_TEST_SEED=" + std::to_string(random.seed()));
  Context reference(Backend::kReference), cpu(Backend::kCpu);
  for (const Options& o : all_options()) {
    for (int64_t experts : expert_counts()) {
      for (int64_t tokens : {1, 5, 37}) {
        const int64_t top_k = random.integer(1, experts);
        SCOPED_TRACE(to_string(o) + " T " + std::to_string(tokens) + " E " + std::to_string(experts) + " k " +
                     std::to_string(top_k));
        Routed fast(random, Dtype::kF32, tokens, experts, top_k, o);
        fast.run(cpu);
        const Routed exact = as(Dtype::kF64, fast);  // the same scores, rounded as they are
        const Gradients g(random, fast, random.integer(0, 1) == 1, 0.3);
        Gradients want(random, exact, g.has_balance, g.z_scale);
        want.dweight = test::as(Dtype::kF64, g.dweight.view());
        want.balance = test::as(Dtype::kF64, g.balance.view());
        route_backward(cpu, g.args(fast));
        route_backward(reference, want.args(exact));
        // Terms of the Jacobian and of the quotient rule cancel: errors scale with the largest term, not with
        // the sum.
        const double term = 2 * kScale * largest(g.dweight.view()) + 2 * largest(g.balance.view()) +
                            2 * g.z_scale * largest(fast.logsumexp.view());
        EXPECT_LT(absolute_difference(g.dlogits.view(), want.dlogits.view()),
                  term * test::f32_tolerance(experts));
      }
    }
  }
}

TEST(Routing, UnderflowingSigmoidsGiveZerosAndNoNans) {
  Context reference(Backend::kReference), cpu(Backend::kCpu);
  Random random;
  for (Context* ctx : {&reference, &cpu}) {
    Buffer logits(Dtype::kF32, {3, 5});
    std::fill_n(logits.view().as<float>(), 15, -200.0f);
    Routed r(std::move(logits), 2, {.score = RouterScore::kSigmoid, .renormalize = true}, {});
    r.run(*ctx);
    for (int64_t s = 0; s < 6; ++s) EXPECT_EQ(r.weight.view().as<float>()[s], 0.0f);
    const Gradients g(random, r, true, 0.1);
    route_backward(*ctx, g.args(r));
    for (int64_t i = 0; i < 15; ++i) EXPECT_TRUE(std::isfinite(g.dlogits.view().as<float>()[i]));
  }
}

bool same_bits(View a, View b) {
  for (int64_t r = 0; r < a.rows(); ++r) {
    const auto bytes = static_cast<size_t>(a.cols() * size_of(a.dtype));
    if (std::memcmp(static_cast<char*>(a.data) + r * a.row_stride * size_of(a.dtype),
                    static_cast<char*>(b.data) + r * b.row_stride * size_of(b.dtype), bytes) != 0) {
      return false;
    }
  }
  return true;
}

TEST(Routing, ScoresDoNotDependOnThreadsNorOnOtherTokens) {
  Random random;
  for (RouterScore score : {RouterScore::kSoftmax, RouterScore::kSigmoid}) {
    Context one(Backend::kCpu, 1);
    Routed whole(random, Dtype::kF32, 1201, 67, 5, {score, true, true});
    whole.run(one);
    const Gradients g(random, whole, true, 0.3);
    route_backward(one, g.args(whole));

    for (int threads : {2, 3}) {
      Context ctx(Backend::kCpu, threads);
      Routed other = as(Dtype::kF32, whole);
      other.run(ctx);
      Gradients dother = Gradients(random, other, true, 0.3);
      dother.dweight = test::as(Dtype::kF32, g.dweight.view());
      dother.balance = test::as(Dtype::kF32, g.balance.view());
      route_backward(ctx, dother.args(other));
      EXPECT_TRUE(same_bits(other.scores.view(), whole.scores.view()));
      EXPECT_TRUE(same_bits(other.expert.view(), whole.expert.view()));
      EXPECT_TRUE(same_bits(other.weight.view(), whole.weight.view()));
      EXPECT_TRUE(same_bits(other.logsumexp.view(), whole.logsumexp.view()));
      EXPECT_TRUE(same_bits(dother.dlogits.view(), g.dlogits.view()));
    }

    // In pieces of odd lengths, each over the rows of the whole.
    Routed pieces = as(Dtype::kF32, whole);
    Buffer dlogits = test::poisoned(Dtype::kF32, whole.logits.view().shape);
    for (int64_t begin = 0, n = 1; begin < 1201; begin += n, n = std::min<int64_t>(n + 6, 1201 - begin)) {
      const auto part = [&](const Buffer& b) { return b.view().row_range(begin, n); };
      const auto flat = [&](const Buffer& b) { return View(b.view().as<float>() + begin, Dtype::kF32, {n}); };
      RouteForward f = pieces.args();
      f.logits = part(pieces.logits), f.scores = part(pieces.scores), f.expert = part(pieces.expert);
      f.weight = part(pieces.weight), f.logsumexp = flat(pieces.logsumexp);
      route_forward(one, f);
      RouteBackward b = g.args(pieces);
      b.logits = f.logits, b.scores = f.scores, b.expert = f.expert, b.weight = f.weight,
      b.logsumexp = f.logsumexp;
      b.dweight = part(g.dweight), b.dlogits = part(dlogits);
      route_backward(one, b);
    }
    EXPECT_TRUE(same_bits(pieces.scores.view(), whole.scores.view()));
    EXPECT_TRUE(same_bits(pieces.expert.view(), whole.expert.view()));
    EXPECT_TRUE(same_bits(pieces.weight.view(), whole.weight.view()));
    EXPECT_TRUE(same_bits(dlogits.view(), g.dlogits.view()));
  }
}

struct Tallied {
  explicit Tallied(int64_t experts)
      : counts(Dtype::kF64, {experts}), score_sum(Dtype::kF64, {experts}), squares(Dtype::kF64, {1}) {}
  void add(Context& ctx, const Routed& r, int64_t begin, int64_t n) {
    route_tally(ctx, {.scores = r.scores.view().row_range(begin, n),
                      .expert = r.expert.view().row_range(begin, n),
                      .logsumexp = View(r.logsumexp.view().as<float>() + begin, Dtype::kF32, {n}),
                      .score = r.options.score,
                      .counts = counts.view(),
                      .score_sum = score_sum.view(),
                      .squared_logsumexp = squares.view()});
  }
  Buffer counts, score_sum, squares;
};

TEST(Routing, TallyCountsAndDoesNotDependOnChunks) {
  Random random;
  Context cpu(Backend::kCpu);
  for (RouterScore score : {RouterScore::kSoftmax, RouterScore::kSigmoid}) {
    Routed r(random, Dtype::kF32, 61, 7, 2, {.score = score});
    r.run(cpu);
    Tallied whole(7), pieces(7);
    whole.add(cpu, r, 0, 61);
    for (int64_t begin = 0; begin < 61; begin += 9)
      pieces.add(cpu, r, begin, std::min<int64_t>(9, 61 - begin));
    EXPECT_TRUE(same_bits(whole.counts.view(), pieces.counts.view()));
    EXPECT_TRUE(same_bits(whole.score_sum.view(), pieces.score_sum.view()));
    EXPECT_TRUE(same_bits(whole.squares.view(), pieces.squares.view()));

    const double* sums = whole.score_sum.view().as<double>();
    EXPECT_NEAR(std::accumulate(sums, sums + 7, 0.0), 61.0, 61 * test::f32_tolerance(7));  // Σ_e p_te = 1
    for (int32_t e = 0; e < 7; ++e) {
      const int32_t* chosen = r.expert.view().as<int32_t>();
      EXPECT_EQ(whole.counts.view().as<double>()[e],
                static_cast<double>(std::count(chosen, chosen + 122, e)));
    }
    EXPECT_NEAR(*whole.squares.view().as<double>(), test::dot(r.logsumexp.view(), r.logsumexp.view()), 1e-9);
  }
}

/// A random choice and its permutation; a third of the experts are never chosen.
struct Permuted {
  Permuted(Random& random, int64_t tokens_, int64_t experts_, int64_t top_k_, int64_t capacity)
      : tokens(tokens_),
        experts(experts_),
        top_k(top_k_),
        expert(Dtype::kI32, {tokens, top_k}),
        row_of_slot(Dtype::kI64, {tokens, top_k}),
        slot_of_row_(Dtype::kI64, {tokens * top_k}),
        offsets(static_cast<size_t>(experts) + 1) {
    std::vector<int32_t> open;
    for (int32_t e = 0; e < experts; ++e) {
      if (e % 3 != 1 || experts < 3 * top_k) open.push_back(e);
    }
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t j = 0; j < top_k; ++j) {
        std::swap(open[static_cast<size_t>(j)],
                  open[static_cast<size_t>(random.integer(j, static_cast<int64_t>(open.size()) - 1))]);
        expert.view().row<int32_t>(t)[j] = open[static_cast<size_t>(j)];
      }
    }
    Context ctx(Backend::kCpu);
    route_permutation(ctx, {.expert = expert.view(),
                            .capacity = capacity,
                            .row_of_slot = row_of_slot.view(),
                            .slot_of_row = slot_of_row_.view(),
                            .offsets = offsets});
  }
  int64_t rows() const { return offsets.back(); }
  View slot_of_row() const { return View(slot_of_row_.view().data, Dtype::kI64, {rows()}); }

  int64_t tokens, experts, top_k;
  Buffer expert, row_of_slot, slot_of_row_;
  std::vector<int64_t> offsets;
};

const std::vector<int64_t>& capacities() {
  static const std::vector<int64_t> values = {-1, 0, 1, 5, 1000};
  return values;
}

TEST(Routing, PermutationIsAStableSortAndItsInverse) {
  Random random;
  SCOPED_TRACE("NATRIX_TEST_SEED=" + std::to_string(random.seed()));
  for (int64_t capacity : capacities()) {
    for (int64_t experts : expert_counts()) {
      for (int64_t tokens : {0, 1, 2, 37}) {
        const Permuted p(random, tokens, experts, random.integer(1, experts), capacity);
        const int32_t* expert = p.expert.view().as<int32_t>();
        const int64_t *row = p.row_of_slot.view().as<int64_t>(), *slot = p.slot_of_row().as<int64_t>();
        ASSERT_EQ(p.offsets.front(), 0);
        std::vector<int64_t> seen(static_cast<size_t>(experts));
        for (int64_t s = 0; s < tokens * p.top_k;
             ++s) {  // slots in order meet the rows of their expert in order
          const auto e = static_cast<size_t>(expert[s]);
          const bool kept = capacity < 0 || seen[e] < capacity;
          ASSERT_EQ(row[s], kept ? p.offsets[e] + seen[e] : -1);
          if (kept) {
            ASSERT_EQ(slot[row[s]], s);
            ++seen[e];
          }
        }
        for (size_t e = 0; e < seen.size(); ++e) ASSERT_EQ(p.offsets[e + 1] - p.offsets[e], seen[e]);
      }
    }
  }
}

TEST(Routing, PermutationRefusesAnUnknownExpert) {
  Context ctx(Backend::kCpu);
  for (int32_t bad : {-1, 4}) {
    Buffer expert(Dtype::kI32, {2, 1}), row(Dtype::kI64, {2, 1}), slot(Dtype::kI64, {2});
    expert.view().as<int32_t>()[1] = bad;
    std::vector<int64_t> offsets(5);
    EXPECT_THROW(route_permutation(ctx, {.expert = expert.view(),
                                         .row_of_slot = row.view(),
                                         .slot_of_row = slot.view(),
                                         .offsets = offsets}),
                 ContractError);
  }
}

/// Operands of the row kernels, [.., D] as columns of wider buffers: rows are strided as slices of channels
/// are.
struct Rows {
  Rows(const Permuted& p, Dtype dtype, int64_t width, const std::function<Buffer(Dtype, Shape)>& make)
      : wide_x(make(dtype, {p.tokens, width + 5})),
        wide_rows(make(dtype, {p.rows(), width + 3})),
        weight(make(dtype, {p.tokens, p.top_k})),
        x(wide_x.view().columns(2, width)),
        rows(wide_rows.view().columns(1, width)) {}
  Buffer wide_x, wide_rows, weight;
  View x, rows;
};

/// Small integers: sums and products of theirs are exact in both dtypes and in any order.
std::function<Buffer(Dtype, Shape)> integers(Random& random) {
  return [&random](Dtype dtype, Shape shape) {
    Buffer b(dtype, shape);
    for_float(dtype, [&](auto zero) {
      using T = decltype(zero);
      for (int64_t i = 0; i < shape.count(); ++i) b.view().as<T>()[i] = static_cast<T>(random.integer(-8, 8));
    });
    return b;
  };
}

/// Calls f(permutation, operands of small integers) for shapes, capacities and both backends.
void for_row_cases(const std::function<void(Context&, Dtype, const Permuted&, const Rows&)>& f) {
  Random random;
  SCOPED_TRACE("NATRIX_TEST_SEED=" + std::to_string(random.seed()));
  Context reference(Backend::kReference), cpu(Backend::kCpu);
  for (int64_t capacity : capacities()) {
    for (int64_t width : test::awkward_sizes()) {
      for (int64_t tokens : {0, 1, 23}) {
        const int64_t experts = expert_counts()[static_cast<size_t>(random.integer(0, 6))];
        const Permuted p(random, tokens, experts, random.integer(1, std::min<int64_t>(experts, 5)), capacity);
        SCOPED_TRACE("T " + std::to_string(tokens) + " D " + std::to_string(width) + " E " +
                     std::to_string(experts) + " k " + std::to_string(p.top_k) + " capacity " +
                     std::to_string(capacity));
        f(reference, Dtype::kF64, p, Rows(p, Dtype::kF64, width, integers(random)));
        f(cpu, Dtype::kF32, p, Rows(p, Dtype::kF32, width, integers(random)));
      }
    }
  }
}

TEST(Routing, GatherCopiesAndItsBackwardIsTheAdjoint) {
  for_row_cases([](Context& ctx, Dtype dtype, const Permuted& p, const Rows& o) {
    const int64_t width = o.x.cols();
    Buffer gathered = test::poisoned(dtype, {p.rows(), width}), dx = test::poisoned(dtype, {p.tokens, width});
    gather_rows(ctx, {.x = o.x, .slot_of_row = p.slot_of_row(), .top_k = p.top_k, .rows = gathered.view()});
    gather_rows_backward(ctx, {.drows = o.rows, .row_of_slot = p.row_of_slot.view(), .dx = dx.view()});
    for (int64_t r = 0; r < p.rows(); ++r) {
      const int64_t token = p.slot_of_row().as<int64_t>()[r] / p.top_k;
      ASSERT_TRUE(same_bits(gathered.view().row_range(r, 1), o.x.row_range(token, 1)));
    }
    ASSERT_EQ(test::dot(gathered.view(), o.rows), test::dot(o.x, dx.view()));

    Buffer twice(dtype, {p.tokens, width});
    for (int i = 0; i < 2; ++i) {
      gather_rows_backward(
          ctx,
          {.drows = o.rows, .row_of_slot = p.row_of_slot.view(), .dx = twice.view(), .accumulate = true});
    }
    ASSERT_EQ(test::dot(o.x, twice.view()), 2 * test::dot(o.x, dx.view()));
  });
}

TEST(Routing, CombineIsWeightedAndItsBackwardIsTheAdjoint) {
  for_row_cases([](Context& ctx, Dtype dtype, const Permuted& p, const Rows& o) {
    const int64_t width = o.x.cols();
    Buffer y = test::poisoned(dtype, {p.tokens, width}), drows = test::poisoned(dtype, {p.rows(), width});
    Buffer dweight = test::poisoned(dtype, {p.tokens, p.top_k});
    const View dy = o.x;
    combine_rows(
        ctx, {.rows = o.rows, .row_of_slot = p.row_of_slot.view(), .weight = o.weight.view(), .y = y.view()});
    combine_rows_backward(ctx, {.rows = o.rows,
                                .row_of_slot = p.row_of_slot.view(),
                                .slot_of_row = p.slot_of_row(),
                                .weight = o.weight.view(),
                                .dy = dy,
                                .drows = drows.view(),
                                .dweight = dweight.view()});
    // y is linear in the rows and, for given rows, in the weights.
    ASSERT_EQ(test::dot(y.view(), dy), test::dot(o.rows, drows.view()));
    ASSERT_EQ(test::dot(y.view(), dy), test::dot(o.weight.view(), dweight.view()));
    for (int64_t s = 0; s < p.tokens * p.top_k; ++s) {
      const int64_t row = p.row_of_slot.view().as<int64_t>()[s], token = s / p.top_k;
      const double want = row < 0 ? 0.0 : test::dot(o.rows.row_range(row, 1), dy.row_range(token, 1));
      for_float(dtype, [&](auto zero) {
        ASSERT_EQ(static_cast<double>(dweight.view().as<decltype(zero)>()[s]), want);
      });
    }

    // Into the memory of rows, and on top of what is there.
    Buffer alias = test::as(dtype, o.rows);
    combine_rows_backward(ctx, {.rows = alias.view(),
                                .row_of_slot = p.row_of_slot.view(),
                                .slot_of_row = p.slot_of_row(),
                                .weight = o.weight.view(),
                                .dy = dy,
                                .drows = alias.view(),
                                .dweight = dweight.view()});
    ASSERT_TRUE(same_bits(alias.view(), drows.view()));
    combine_rows(ctx, {.rows = o.rows,
                       .row_of_slot = p.row_of_slot.view(),
                       .weight = o.weight.view(),
                       .y = y.view(),
                       .accumulate = true});
    ASSERT_EQ(test::dot(y.view(), dy), 2 * test::dot(o.rows, drows.view()));
  });
}

TEST(Routing, RowsMatchReference) {
  Random random;
  Context reference(Backend::kReference), cpu(Backend::kCpu);
  const auto normal = [&](Dtype dtype, Shape shape) { return random.normal(dtype, shape); };
  for (int64_t width : test::awkward_sizes()) {
    const Permuted p(random, 37, 8, 3, 11);
    const Rows fast(p, Dtype::kF32, width, normal);
    const auto f64 = [](View v) { return test::as(Dtype::kF64, v); };
    const Buffer rows = f64(fast.rows), weight = f64(fast.weight.view()), dy = f64(fast.x);
    Buffer y = test::poisoned(Dtype::kF32, {37, width}), want_y(Dtype::kF64, {37, width});
    combine_rows(cpu, {.rows = fast.rows,
                       .row_of_slot = p.row_of_slot.view(),
                       .weight = fast.weight.view(),
                       .y = y.view()});
    combine_rows(reference, {.rows = rows.view(),
                             .row_of_slot = p.row_of_slot.view(),
                             .weight = weight.view(),
                             .y = want_y.view()});
    EXPECT_LT(test::relative_difference(y.view(), want_y.view()), test::f32_tolerance(3));

    Buffer drows = test::poisoned(Dtype::kF32, {p.rows(), width}), want_drows(Dtype::kF64, {p.rows(), width});
    Buffer dweight = test::poisoned(Dtype::kF32, {37, 3}), want_dweight(Dtype::kF64, {37, 3});
    combine_rows_backward(cpu, {.rows = fast.rows,
                                .row_of_slot = p.row_of_slot.view(),
                                .slot_of_row = p.slot_of_row(),
                                .weight = fast.weight.view(),
                                .dy = fast.x,
                                .drows = drows.view(),
                                .dweight = dweight.view()});
    combine_rows_backward(reference, {.rows = rows.view(),
                                      .row_of_slot = p.row_of_slot.view(),
                                      .slot_of_row = p.slot_of_row(),
                                      .weight = weight.view(),
                                      .dy = dy.view(),
                                      .drows = want_drows.view(),
                                      .dweight = want_dweight.view()});
    EXPECT_LT(test::relative_difference(drows.view(), want_drows.view()), test::f32_tolerance(1));
    EXPECT_LT(test::relative_difference(dweight.view(), want_dweight.view()), test::f32_tolerance(width));
  }
}

TEST(Routing, RowsDoNotDependOnThreads) {
  Random random;
  const Permuted p(random, 301, 8, 3, 90);
  const Rows o(p, Dtype::kF32, 1021, [&](Dtype dtype, Shape shape) { return random.normal(dtype, shape); });
  struct Outputs {
    Buffer rows, y, drows, dweight;
  };
  const auto run = [&](int threads) {
    Context ctx(Backend::kCpu, threads);
    Outputs out{Buffer(Dtype::kF32, {p.rows(), 1021}), Buffer(Dtype::kF32, {301, 1021}),
                Buffer(Dtype::kF32, {p.rows(), 1021}), Buffer(Dtype::kF32, {301, 3})};
    gather_rows(ctx, {.x = o.x, .slot_of_row = p.slot_of_row(), .top_k = 3, .rows = out.rows.view()});
    combine_rows(
        ctx,
        {.rows = o.rows, .row_of_slot = p.row_of_slot.view(), .weight = o.weight.view(), .y = out.y.view()});
    combine_rows_backward(ctx, {.rows = o.rows,
                                .row_of_slot = p.row_of_slot.view(),
                                .slot_of_row = p.slot_of_row(),
                                .weight = o.weight.view(),
                                .dy = o.x,
                                .drows = out.drows.view(),
                                .dweight = out.dweight.view()});
    return out;
  };
  const Outputs one = run(1);
  for (int threads : {2, 3}) {
    const Outputs other = run(threads);
    EXPECT_TRUE(same_bits(other.rows.view(), one.rows.view()));
    EXPECT_TRUE(same_bits(other.y.view(), one.y.view()));
    EXPECT_TRUE(same_bits(other.drows.view(), one.drows.view()));
    EXPECT_TRUE(same_bits(other.dweight.view(), one.dweight.view()));
  }
}

/// Rows so far apart that their offsets pass 2^31 and 2^32; only the pages touched take memory.
TEST(Routing, OffsetsPass32Bits) {
  constexpr int64_t kStride = (int64_t{1} << 31) + 7, kRows = 3, kWidth = 5;
  const size_t bytes = sizeof(float) * static_cast<size_t>(kRows * kStride);
  void* memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const View sparse(memory, Dtype::kF32, {kRows, kWidth}, kStride);
  Random random;
  Buffer permutation(Dtype::kI64, {kRows, 1});  // its own inverse
  for (int64_t i = 0; i < kRows; ++i) permutation.view().as<int64_t>()[i] = kRows - 1 - i;
  const View slot_of_row = permutation.view().reshaped({kRows});
  Buffer weight(Dtype::kF32, {kRows, 1});
  std::fill_n(weight.view().as<float>(), kRows, 1.0f);

  for (Backend backend : {Backend::kReference, Backend::kCpu}) {
    Context ctx(backend);
    const Buffer x = random.normal(Dtype::kF32, {kRows, kWidth});
    Buffer back(Dtype::kF32, {kRows, kWidth});
    gather_rows(ctx, {.x = x.view(), .slot_of_row = slot_of_row, .rows = sparse});
    combine_rows(
        ctx, {.rows = sparse, .row_of_slot = permutation.view(), .weight = weight.view(), .y = back.view()});
    EXPECT_TRUE(same_bits(back.view(), x.view()));
  }
  munmap(memory, bytes);
}

TEST(Routing, ChecksItsShapes) {
  Random random;
  for (Backend backend : {Backend::kReference, Backend::kCpu}) {
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
}  // namespace natrix
