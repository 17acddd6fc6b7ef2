// The reference attention against torch in double (tests/data/kernels), against finite differences, and against
// itself in pieces. attention_cpu_test.cpp then holds the fast kernels to the reference.
#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>

#include "core/files/safetensors.h"
#include "tests/kernels/attention_case.h"

namespace natrix::test {
namespace {

/// [B, S, C] and [B, T, C], one after the other in time.
Buffer joined(View past, View now) {
  const int64_t S = past.extent(1), T = now.extent(1);
  Buffer b(now.dtype, {now.extent(0), S + T, now.cols()});
  for (int64_t s = 0; s < now.extent(0); ++s) {
    copy(past.row_range(s * S, S), b.view().row_range(s * (S + T), S));
    copy(now.row_range(s * T, T), b.view().row_range(s * (S + T) + S, T));
  }
  return b;
}

class AttentionOracle : public ::testing::TestWithParam<const char*> {
 protected:
  Safetensors oracle{std::string(NATRIX_TEST_DATA) + "/kernels/attention_" + GetParam() + ".safetensors"};

  /// [B, T, h, e] as [B, T, h·e].
  View flat(const std::string& name) const {
    const View v = oracle.at(name);
    return v.reshaped({v.extent(0), v.extent(1), v.extent(2) * v.extent(3)});
  }
  /// With the rows carried in, where there are any.
  Buffer rows(const std::string& group, const std::string& name) const {
    const View now = flat(group + "." + name);
    return oracle.contains(group + ".past_" + name) ? joined(flat(group + ".past_" + name), now)
                                                    : copy_of(now);
  }

  AttentionCase load(Dtype dtype) const {
    const View q = oracle.at("in.q"), k = oracle.at("in.k");
    const int64_t past = oracle.contains("in.past_k") ? oracle.at("in.past_k").extent(1) : 0;
    AttentionCase c{{q.extent(0), past, q.extent(1), q.extent(2), k.extent(2), q.extent(3)},
                    oracle.at("in.scale").as<double>()[0],
                    {},
                    {}};
    c.in["q"] = as(dtype, flat("in.q"));
    c.in["dy"] = as(dtype, flat("seed.y"));
    for (const char* name : {"k", "v"}) c.in[name] = as(dtype, rows("in", name).view());
    if (oracle.contains("in.doc_start")) {
      c.doc_start = Buffer(Dtype::kU8, {c.size.batch, c.size.rows()});
      for (int64_t b = 0; b < c.size.batch; ++b) {
        std::memcpy(c.doc_start.view().row<uint8_t>(b) + past, oracle.at("in.doc_start").row<uint8_t>(b),
                    static_cast<size_t>(c.size.tokens));
      }
    }
    return c;
  }

  void expect_agreement(Context& ctx, const AttentionCase& c, double tolerance) const {
    for (const int64_t chunk : {int64_t{0}, int64_t{7}, int64_t{1}}) {
      const Buffers out = run_forward(ctx, c, chunk), gradients = run_backward(ctx, c, chunk);
      EXPECT_LE(relative_difference(out.at("y").view(), flat("out.y")), tolerance) << "chunk " << chunk;
      EXPECT_LE(relative_difference(gradients.at("q").view(), flat("grad.q")), tolerance)
          << "chunk " << chunk;
      for (const char* name : {"k", "v"}) {
        EXPECT_LE(relative_difference(gradients.at(name).view(), rows("grad", name).view()), tolerance)
            << "d" << name << ", chunk " << chunk;
      }
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Files, AttentionOracle, ::testing::Values("small", "one", "docs"));

TEST_P(AttentionOracle, ReferenceAgreesInDouble) {
  Context ctx(Backend::kReference);
  expect_agreement(ctx, load(Dtype::kF64), 1e-10);
}

/// Operands, lse and results round to f32 once each; dk and dv round at every query that adds to them.
TEST_P(AttentionOracle, ReferenceAgreesInSingle) {
  Context ctx(Backend::kReference);
  const AttentionCase c = load(Dtype::kF32);
  expect_agreement(ctx, c, f32_tolerance(c.size.tokens * c.size.heads));
}

TEST_P(AttentionOracle, CpuAgrees) {
  Context ctx(Backend::kCpu);
  const AttentionCase c = load(Dtype::kF32);
  expect_agreement(ctx, c, f32_tolerance(c.size.rows() * c.size.dim));
}

TEST(AttentionReference, GradientsAreFiniteDifferences) {
  Random random;
  Context ctx(Backend::kReference);
  for (const int64_t window : {0, 3}) {
    const AttentionCase c = AttentionCase::fresh(random, Dtype::kF64, {2, 4, 9, 4, 2, 3, window}, 0.2);
    const auto loss = [&] { return dot(run_forward(ctx, c).at("y").view(), c["dy"]); };
    for (const auto& [name, gradient] : run_backward(ctx, c)) {
      EXPECT_LE(finite_difference_error(c[name], gradient.view(), loss), 1e-6)
          << name << ", seed " << random.seed();
    }
  }
}

TEST(AttentionReference, ByHand) {
  Context ctx(Backend::kReference);
  AttentionCase c{{1, 0, 2, 1, 1, 1}, 2.0, {}, {}};
  const auto doubles = [](std::vector<double> values) {
    Buffer b(Dtype::kF64, {1, static_cast<int64_t>(values.size()), 1});
    std::copy(values.begin(), values.end(), b.view().as<double>());
    return b;
  };
  c.in["q"] = doubles({5, 1});
  c.in["k"] = doubles({1, 3});
  c.in["v"] = doubles({10, 20});
  const Buffers out = run_forward(ctx, c);
  EXPECT_DOUBLE_EQ(out.at("y").view().as<double>()[0], 10);  // it sees itself alone
  EXPECT_DOUBLE_EQ(out.at("lse").view().as<double>()[0], 10);
  const double p = 1 / (1 + std::exp(4.0));  // of scores 2 and 6
  EXPECT_DOUBLE_EQ(out.at("y").view().as<double>()[1], p * 10 + (1 - p) * 20);
  EXPECT_DOUBLE_EQ(out.at("lse").view().as<double>()[1], std::log(std::exp(2.0) + std::exp(6.0)));
}

/// Rows of the storage, of a segment that begins at row 10, in the words of the contract.
TEST(AttentionVisible, RangesAreThoseOfTheContract) {
  const Buffer q(Dtype::kF32, {1, 9, 2}), starts(Dtype::kU8, {1, 9}), position(Dtype::kI64, {1});
  for (const int64_t window : {0, 1, 3, 100}) {
    for (const int64_t before : {0, 4, 10, 25}) {  // tokens of the first document before the segment
      for (const int64_t start : {-1, 0, 5, 8}) {  // token at which another document starts
        std::fill_n(starts.view().as<uint8_t>(), 9, uint8_t{0});
        if (start >= 0) starts.view().as<uint8_t>()[start] = 1;
        position.view().as<int64_t>()[0] = before;
        std::vector<KeyRange> visible(9);
        find_visible(AttentionForward{.q = q.view(),
                                      .first = 10,
                                      .doc_start = starts.view(),
                                      .position = position.view(),
                                      .window = window},
                     0, visible);
        for (int64_t t = 0; t < 9; ++t) {
          const int64_t i = 10 + t;
          for (int64_t j = 0; j < 20; ++j) {
            const bool same_document = start >= 0 && t >= start ? j >= 10 + start : j >= 10 - before;
            const bool sees = j <= i && same_document && (window == 0 || i - j < window);
            const KeyRange range = visible[static_cast<size_t>(t)];
            EXPECT_EQ(j >= range.begin && j < range.end, sees)
                << "query " << i << ", key " << j << ", window " << window << ", before " << before
                << ", start " << start;
          }
        }
      }
    }
  }
}

class Attention : public ::testing::TestWithParam<Backend> {};
INSTANTIATE_TEST_SUITE_P(Backends, Attention, ::testing::Values(Backend::kReference, Backend::kCpu),
                         [](const auto& backend) { return name_of(backend.param); });

TEST_P(Attention, RefusesWhatBreaksItsContract) {
  Random random;
  Context ctx(GetParam());
  const OwnedPages pages(Dtype::kF32, 2, 70, 2, 3, false), other(Dtype::kF32, 2, 70, 1, 3, false);
  const Buffer q = random.normal(Dtype::kF32, {2, 5, 12}), narrow = random.normal(Dtype::kF32, {2, 5, 9});
  const Buffer lse(Dtype::kF32, {2, 4, 5}), starts(Dtype::kU8, {2, 4}), position(Dtype::kI64, {3});
  const KeyValuePages whole = pages.of_length(70);
  KeyValuePages missing = whole;
  missing.pages = missing.pages.first(2);
  const AttentionForward good{.q = q.view(), .history = whole, .first = 65, .y = q.view(), .lse = lse.view()};
  const auto refuses = [&](auto change) {
    AttentionForward args = good;
    change(args);
    EXPECT_THROW(attention_forward(ctx, args), ContractError);
  };
  refuses([&](AttentionForward& a) { a.first = 66; });
  refuses([&](AttentionForward& a) { a.first = -1; });
  refuses([&](AttentionForward& a) { a.window = -1; });
  refuses([&](AttentionForward& a) { a.q = a.y = narrow.view(); });
  refuses([&](AttentionForward& a) { a.y = narrow.view(); });
  refuses([&](AttentionForward& a) { a.doc_start = starts.view(); });
  refuses([&](AttentionForward& a) { a.position = position.view(); });
  refuses([&](AttentionForward& a) { a.lse = q.view(); });
  refuses([&](AttentionForward& a) { a.history = missing; });
  refuses([&](AttentionForward& a) { a.history.heads = 0; });
  const AttentionBackward backward{.q = q.view(),
                                   .history = whole,
                                   .first = 65,
                                   .y = q.view(),
                                   .lse = lse.view(),
                                   .dy = q.view(),
                                   .dq = q.view(),
                                   .dhistory = whole};
  AttentionBackward args = backward;
  args.lse = {};
  EXPECT_THROW(attention_backward(ctx, args), ContractError);
  args = backward;
  args.dhistory = other.of_length(70);
  EXPECT_THROW(attention_backward(ctx, args), ContractError);
  EXPECT_THROW(append_rows(ctx, {.k = narrow.view(), .v = narrow.view(), .pages = whole}), ContractError);
  const Buffer k(Dtype::kF32, {2, 5, 6});
  EXPECT_THROW(append_rows(ctx, {.k = k.view(), .v = k.view(), .pages = whole, .first = 66}), ContractError);
  EXPECT_THROW(read_rows(ctx, {.pages = whole, .first = 66, .k = k.view(), .v = k.view()}), ContractError);
}

TEST_P(Attention, ReadsTheRowsThatWereAppended) {
  Random random;
  Context ctx(GetParam());
  const OwnedPages pages(Dtype::kF32, 3, 150, 2, 5, false);
  const Buffer k = random.normal(Dtype::kF32, {3, 150, 10}), v = random.normal(Dtype::kF32, {3, 150, 10});
  const StridedCopy strided(k.view());
  append_rows(ctx, {.k = strided.view(), .v = v.view(), .pages = pages.of_length(150)});
  Buffer k_read = poisoned(Dtype::kF32, {3, 150, 10}), v_read = poisoned(Dtype::kF32, {3, 150, 10});
  read_rows(ctx, {.pages = pages.of_length(150), .k = k_read.view(), .v = v_read.view()});
  EXPECT_TRUE(same_bits(k_read.view(), k.view()) && same_bits(v_read.view(), v.view()));
  Buffer k_part = poisoned(Dtype::kF32, {3, 70, 10}), v_part = poisoned(Dtype::kF32, {3, 70, 10});
  read_rows(ctx, {.pages = pages.of_length(150), .first = 60, .k = k_part.view(), .v = v_part.view()});
  for (int64_t b = 0; b < 3; ++b) {
    EXPECT_TRUE(same_bits(k_part.view().row_range(b * 70, 70), k.view().row_range(b * 150 + 60, 70)));
    EXPECT_TRUE(same_bits(v_part.view().row_range(b * 70, 70), v.view().row_range(b * 150 + 60, 70)));
  }
}

TEST(AttentionDry, CountsWhatAHandCounts) {
  Context ctx(Context::Dry{Backend::kCpu});
  const Buffer q(Dtype::kF32, {2, 3, 8}, Memory::kDry), lse(Dtype::kF32, {2, 4, 3}, Memory::kDry);
  const KeyValuePages pages{.length = 10, .heads = 2, .head_dim = 2};  // without memory
  const auto forward = [&](int64_t window) {
    const Ledger before = ctx.ledger();
    attention_forward(
        ctx,
        {.q = q.view(), .history = pages, .first = 7, .window = window, .y = q.view(), .lse = lse.view()});
    return ctx.ledger().since(before).of(Work::kProducts);
  };
  const double rows = 2 * 4;  // B · H
  EXPECT_EQ(forward(0).exps, rows * (8 + 9 + 10));
  EXPECT_EQ(forward(0).flops, 4 * 2 * rows * (8 + 9 + 10));
  EXPECT_EQ(forward(4).exps, rows * 3 * 4);
  EXPECT_EQ(forward(9).exps, rows * (8 + 9 + 9));
  const double tensor = 2 * 3 * 8 * 4, history = 2 * 2 * 10 * 2 * 2 * 4;
  EXPECT_EQ(forward(0).bytes, 2 * tensor + 2 * 4 * 3 * 4 + history);
  const Ledger before = ctx.ledger();
  attention_backward(ctx, {.q = q.view(),
                           .history = pages,
                           .first = 7,
                           .y = q.view(),
                           .lse = lse.view(),
                           .dy = q.view(),
                           .dq = q.view(),
                           .dhistory = pages});
  EXPECT_EQ(ctx.ledger().since(before).of(Work::kProducts).flops, 10 * 2 * rows * (8 + 9 + 10));
  const Buffer k(Dtype::kF32, {2, 3, 4}, Memory::kDry);
  append_rows(ctx, {.k = k.view(), .v = k.view(), .pages = pages, .first = 7});
  read_rows(ctx, {.pages = pages, .first = 7, .k = k.view(), .v = k.view()});
  EXPECT_EQ(ctx.ledger().of(Work::kElements).bytes, 2 * 2 * 2 * (2 * 3 * 4 * 4));
}

}  // namespace
}  // namespace natrix::test
