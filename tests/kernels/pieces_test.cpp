// A sequence cut into pieces that hand on their state is the sequence: outputs, states and their gradients to
// the bit, whatever the cuts, and the sums over tokens (parameter gradients) but for the order of their
// additions. Likewise a piece's summary stands for the piece.
#include <gtest/gtest.h>

#include "tests/kernels/conv_case.h"
#include "tests/kernels/scan_case.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

struct Setting {
  const char* name;
  Backend backend;
  Dtype dtype;
  bool keeps_bits = true;  // whatever the cuts
  double epsilon() const { return dtype == Dtype::kF64 ? 1e-12 : f32_tolerance(1000); }
};

/// A GPU scans tiles of a piece side by side, so cuts move the tiles and with them the rounding.
std::vector<Setting> backend_settings() {
  std::vector<Setting> all = {{"reference", Backend::kReference, Dtype::kF64},
                              {"cpu", Backend::kCpu, Dtype::kF32}};
  if (backends().back() == Backend::kCuda) all.push_back({"cuda", Backend::kCuda, Dtype::kF32, false});
  return all;
}

class Pieces : public ::testing::TestWithParam<Setting> {
 protected:
  Random random;
  Context ctx{GetParam().backend};

  std::string hint() const { return "seed " + std::to_string(random.seed()); }
  void expect_equal(const std::string& name, View got, View want) const {
    if (GetParam().keeps_bits) {
      EXPECT_TRUE(same_bits(got, want)) << name << ", " << hint();
    } else {
      EXPECT_LE(relative_difference(got, want), GetParam().epsilon()) << name << ", " << hint();
    }
  }
  /// Ends of pieces of `tokens` tokens, the last one included.
  std::vector<int64_t> cuts(int64_t tokens) {
    std::vector<int64_t> ends = {1};  // a piece of one token, as in decoding
    while (ends.back() < tokens) ends.push_back(std::min(tokens, ends.back() + random.integer(1, 80)));
    return ends;
  }
};

INSTANTIATE_TEST_SUITE_P(Backends, Pieces, ::testing::ValuesIn(backend_settings()),
                         [](const auto& setting) { return setting.param.name; });

/// Tokens [begin, end) of what has tokens, all of what has none.
Views piece_of(const Views& whole, std::initializer_list<const char*> by_token, int64_t begin, int64_t end) {
  Views piece = whole;
  for (const char* name : by_token) piece.put(name, tokens_of(whole[name], begin, end - begin));
  return piece;
}

View starts_of(const Buffer& doc_start, int64_t begin, int64_t end) {
  return {doc_start.view().as<uint8_t>() + begin, Dtype::kU8, {1, end - begin}};
}

TEST_P(Pieces, ScanForward) {
  const ScanCase c = ScanCase::fresh(random, GetParam().dtype, {1, 201, 67, 5});
  const Buffers whole = run_forward(ctx, c);
  Buffers out = c.outputs();
  copy(c["state_in"], out["state_out"].view());
  int64_t begin = 0;
  for (const int64_t end : cuts(c.size.tokens)) {
    Views in = piece_of(Views(c.in), {"x", "dt", "B", "C", "dy"}, begin, end);
    in.put("state_in", out["state_out"].view());
    scan_forward(ctx, scan_forward_args(in, starts_of(c.doc_start, begin, end),
                                        piece_of(Views(out), {"y"}, begin, end)));
    begin = end;
  }
  for (const auto& [name, buffer] : whole) expect_equal(name, out[name].view(), buffer.view());
}

TEST_P(Pieces, ScanBackward) {
  const ScanCase c = ScanCase::fresh(random, GetParam().dtype, {1, 201, 67, 5});
  const Buffers whole = run_backward(ctx, c);
  Buffers out = c.outputs(), gradients = c.gradients();

  std::vector<int64_t> ends = cuts(c.size.tokens);
  std::vector<Buffer> states;  // before each piece
  states.push_back(copy_of(c["state_in"]));
  for (size_t i = 0; i < ends.size(); ++i) {
    const int64_t begin = i == 0 ? 0 : ends[i - 1];
    Views in = piece_of(Views(c.in), {"x", "dt", "B", "C", "dy"}, begin, ends[i]);
    Views to = piece_of(Views(out), {"y"}, begin, ends[i]);
    states.push_back(copy_of(states.back().view()));
    in.put("state_in", states[i].view());
    to.put("state_out", states[i + 1].view());
    scan_forward(ctx, scan_forward_args(in, starts_of(c.doc_start, begin, ends[i]), to));
  }
  copy(c["dstate_out"], gradients["state_in"].view());
  for (size_t i = ends.size(); i-- > 0;) {
    const int64_t begin = i == 0 ? 0 : ends[i - 1];
    Views in = piece_of(Views(c.in), {"x", "dt", "B", "C", "dy"}, begin, ends[i]);
    in.put("state_in", states[i].view());
    in.put("dstate_out", gradients["state_in"].view());
    const Views to = piece_of(Views(gradients), {"x", "dt", "B", "C"}, begin, ends[i]);
    scan_backward_alone(ctx, scan_backward_args(in, starts_of(c.doc_start, begin, ends[i]), to));
  }
  for (const char* name : {"x", "dt", "B", "C", "state_in"}) {
    expect_equal(name, gradients[name].view(), whole.at(name).view());
  }
  for (const char* name : {"A_log", "D"}) {
    EXPECT_LE(relative_difference(gradients[name].view(), whole.at(name).view()), GetParam().epsilon())
        << name << ", " << hint();
  }
}

/// after = decay ⊙ before + state
Buffer through(const Buffers& map, View before) {
  Buffer after = copy_of(map.at("state").view());
  for_float(before.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T *decay = map.at("decay").view().as<T>(), *p = before.as<T>();
    for (int64_t i = 0; i < before.count(); ++i) after.view().as<T>()[i] += decay[i] * p[i];
  });
  return after;
}

TEST_P(Pieces, ScanSummaryStandsForThePiece) {
  for (const bool documents : {false, true}) {
    const ScanCase c = ScanCase::fresh(random, GetParam().dtype, {2, 9, 67, 5}, {.documents = documents});
    const Buffer state_out = through(run_summary(ctx, c), c["state_in"]);
    EXPECT_LE(relative_difference(state_out.view(), run_forward(ctx, c).at("state_out").view()),
              GetParam().epsilon())
        << hint();
    const Buffer dstate_in = through(run_summary_backward(ctx, c), c["dstate_out"]);
    EXPECT_LE(relative_difference(dstate_in.view(), run_backward(ctx, c).at("state_in").view()),
              GetParam().epsilon())
        << hint();
  }
}

/// A tail is handed on without the inputs of a document that has ended; so it is compared.
TEST_P(Pieces, ConvForward) {
  const ConvCase c = ConvCase::fresh(random, GetParam().dtype, {1, 301, 67, 4});
  Buffers whole = run_forward(ctx, c), out = c.outputs();
  mask_conv_tail(ctx, {.tail = whole["tail_out"].view(), .doc_start = c.doc_start.view()});
  Buffer tail = copy_of(c["tail_in"]);
  int64_t begin = 0;
  for (const int64_t end : cuts(c.size.tokens)) {
    Views in = piece_of(Views(c.in), {"x", "dy"}, begin, end);
    in.put("tail_in", tail.view());
    const View starts = starts_of(c.doc_start, begin, end);
    conv_silu_forward(ctx, conv_forward_args(in, starts, piece_of(Views(out), {"y"}, begin, end)));
    mask_conv_tail(ctx, {.tail = out["tail_out"].view(), .doc_start = starts});
    copy(out["tail_out"].view(), tail.view());
    begin = end;
  }
  for (const auto& [name, buffer] : whole) expect_equal(name, out[name].view(), buffer.view());
}

TEST_P(Pieces, ConvBackward) {
  const ConvCase c = ConvCase::fresh(random, GetParam().dtype, {1, 301, 67, 4});
  const Buffers whole = run_backward(ctx, c);
  Buffers gradients = c.gradients();
  const int64_t cut = random.integer(4, 297);
  const auto in_piece = [&](int64_t begin, int64_t end) {
    return piece_of(Views(c.in), {"x", "dy"}, begin, end);
  };
  const auto to_piece = [&](int64_t begin, int64_t end) {
    return piece_of(Views(gradients), {"x"}, begin, end);
  };

  // The tail between the pieces: the inputs before the cut, less those of a document that ended there.
  Buffer tail = copy_of(tokens_of(c["x"], cut - 3, 3)), dtail = poisoned(c.dtype(), {1, 3, 67});
  const View before = starts_of(c.doc_start, 0, cut);
  mask_conv_tail(ctx, {.tail = tail.view(), .doc_start = before});

  Views in = in_piece(cut, c.size.tokens), to = to_piece(cut, c.size.tokens);
  in.put("tail_in", tail.view());
  to.put("tail_in", dtail.view());
  conv_silu_backward(ctx, conv_backward_args(in, starts_of(c.doc_start, cut, c.size.tokens), to));
  mask_conv_tail(ctx, {.tail = dtail.view(), .doc_start = before});
  in = in_piece(0, cut);
  in.put("dtail_out", dtail.view());
  conv_silu_backward(ctx, conv_backward_args(in, before, to_piece(0, cut)));

  for (const auto& [name, gradient] : whole) {
    EXPECT_LE(relative_difference(gradients[name].view(), gradient.view()), GetParam().epsilon())
        << name << ", " << hint();
  }
}

}  // namespace
}  // namespace natrix::test
