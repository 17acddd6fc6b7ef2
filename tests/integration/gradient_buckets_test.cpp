// Gradients are sent while backward runs. A bucket may be sent only after the last contribution to its
// gradients, from whatever chunk, micro-batch or use of a weight.
#include <cstring>
#include <gtest/gtest.h>

#include "distributed/grad_sync.h"
#include "tests/launch/ranks.h"

namespace natrix::test {
namespace {

constexpr int64_t kSmallBucket = 1024;  // bytes

/// Ends when it is looked at.
class AtNextLook final : public Operation {
 public:
  bool poll() override { return true; }
  void wait() override {}
};

/// Keeps what its sums found when they were started, and leaves it as it is.
class Recorder final : public Communicator {
 public:
  struct Sum {
    View gradients;
    std::vector<std::byte> found;
    bool during_backward;
  };
  explicit Recorder(std::function<bool()> during_backward) : during_backward_(std::move(during_backward)) {}

  int rank() const override { return 0; }
  int size() const override { return 2; }
  Pending start_all_reduce(Context&, View inout, Reduce) override {
    const auto* bytes = static_cast<const std::byte*>(inout.data);
    sums.push_back({inout, {bytes, bytes + inout.bytes()}, during_backward_()});
    return Pending(std::make_unique<AtNextLook>());
  }
  Pending start_reduce_scatter(Context&, View, View, Reduce) override { return none(); }
  Pending start_all_gather(Context&, View, View) override { return none(); }
  Pending start_all_to_all(Context&, View, View, const RowCounts&) override { return none(); }
  void send(Context&, View, int) override { static_cast<void>(none()); }
  void receive(Context&, View, int) override { static_cast<void>(none()); }

  std::vector<Sum> sums;

 private:
  static Pending none() {
    require(false, "gradients are summed and nothing else");
    return {};
  }
  std::function<bool()> during_backward_;
};

/// One process that sums its gradients as if there were more.
class RecordedGradients final : public LocalGradients {
 public:
  explicit RecordedGradients(std::function<bool()> during_backward)
      : recorder_(std::move(during_backward)), sync_(recorder_, recorder_, kSmallBucket) {}

  void ready(Context& ctx, const std::vector<Param*>& params, size_t first) override {
    sync_.done(ctx, params, first);
  }
  void finish(Context& ctx, const std::vector<Param*>& params) override { sync_.finish(ctx, params); }

  const std::vector<Recorder::Sum>& sums() const { return recorder_.sums; }

 private:
  Recorder recorder_;
  GradSync sync_;
};

struct BucketCase {
  std::string name;
  int64_t chunk = 40, micro = 4;
  GradientMode gradient = GradientMode::kExact;
  double aux = 0.1;
  bool tied = true;
};

std::ostream& operator<<(std::ostream& out, const BucketCase& c) {
  return out << c.name;
}

class GradientBuckets : public ::testing::TestWithParam<BucketCase> {};

bool is_zero(View v) {
  const auto* bytes = static_cast<const char*>(v.data);
  return std::all_of(bytes, bytes + v.bytes(), [](char c) { return c == 0; });
}

TEST_P(GradientBuckets, StartWhenTheyAreCompleteAndBeforeTheFirstLayerHasRun) {
  const BucketCase& c = GetParam();
  ExperimentConfig config;
  config.model = small_config();
  config.model.moe.aux_loss_coef = c.aux;
  config.model.moe.bias_update_rate = 0.01;  // a parameter without a gradient
  config.model.tie_embeddings = c.tied;
  config.sequence.length = 40;
  config.sequence.chunk = c.chunk;
  config.sequence.gradient = c.gradient;
  config.train.batch_size = 4;
  config.train.micro_batch_size = c.micro;
  AssembledModel model = small_model(config.model, Dtype::kF32);
  const View first_norm = model->params()[1]->grad;
  const bool one_run = c.chunk == 40 && c.micro == 4;
  Buffer before;  // the first layer's gradient, as earlier backward runs have left it
  RecordedGradients gradients([&] {
    if (!before) {
      before = Buffer(first_norm.dtype, first_norm.shape);
      copy(first_norm, before.view());
      EXPECT_EQ(is_zero(first_norm), one_run);
    }
    return std::memcmp(before.view().data, first_norm.data, static_cast<size_t>(first_norm.bytes())) == 0;
  });
  Context ctx(Backend::kCpu, 1);
  OneProcess alone;
  const Ranks here = alone.ranks();
  TrainStep step(*model, ctx, config,
                 Ranks{.share = here.share,
                       .world = here.world,
                       .carry = here.carry,
                       .gradients = gradients,
                       .placement = here.placement});
  const SmallBatch rows = small_batch(4, 40, *config.model.vocab_size);
  step.compute(here.share.take(FixedRows(rows), 0, config));

  ASSERT_GT(gradients.sums().size(), 8u);
  EXPECT_TRUE(gradients.sums().front().during_backward) << "the first layer's backward came before";
  EXPECT_FALSE(gradients.sums().back().during_backward);
  int64_t early = 0, bytes = 0;
  for (const Recorder::Sum& s : gradients.sums()) {
    EXPECT_EQ(std::memcmp(s.found.data(), s.gradients.data, s.found.size()), 0)
        << "a bucket that was added to after its sum had begun";
    early += s.during_backward;
    bytes += s.gradients.bytes();
  }
  EXPECT_GT(early, static_cast<int64_t>(gradients.sums().size()) / 3);
  int64_t all = 0;
  for (const Param* p : model->params()) {
    if (!p->grad) continue;
    all += p->grad.bytes();
    const auto holds = [&](const Recorder::Sum& s) {
      return s.gradients.data <= p->grad.data &&
             static_cast<char*>(s.gradients.data) + s.gradients.bytes() > static_cast<char*>(p->grad.data);
    };
    EXPECT_EQ(std::count_if(gradients.sums().begin(), gradients.sums().end(), holds), 1) << p->name;
  }
  EXPECT_GE(bytes, all);
}

INSTANTIATE_TEST_SUITE_P(
    Steps, GradientBuckets,
    ::testing::Values(BucketCase{.name = "one_run"}, BucketCase{.name = "own_head", .tied = false},
                      BucketCase{.name = "chunks", .chunk = 7},
                      BucketCase{.name = "micro_batches", .micro = 1, .aux = 0},
                      BucketCase{.name = "chunks_of_micro_batches", .chunk = 16, .micro = 2},
                      BucketCase{.name = "truncated", .chunk = 16, .gradient = GradientMode::kTruncated},
                      BucketCase{.name = "truncated_micro_batches",
                                 .chunk = 16,
                                 .micro = 2,
                                 .gradient = GradientMode::kTruncated,
                                 .aux = 0}),
    [](const auto& info) { return info.param.name; });

// Buckets grow with the ranks, and what arrives of those under way must not grow four times as fast.
TEST(GradientBuckets, UnderWayStayWithinAFewMegabytesOrAreOne) {
  for (const int ranks : {2, 100, 300, 1000, 16384}) {
    const int64_t bucket = gradient_bucket(ranks), all = bucket * buckets_at_once(bucket);
    EXPECT_LE(all, std::max(int64_t{32} << 20, bucket)) << ranks;
    EXPECT_GE(buckets_at_once(bucket), 1) << ranks;
  }
  EXPECT_GT(buckets_at_once(gradient_bucket(2)), 1);
}

// However they are cut, and whenever they travel: the sums of a blocking step, to the last bit.
TEST(GradientBuckets, OfAnySizeGiveTheSameBits) {
  ExperimentConfig config;
  config.model = small_config();
  config.sequence.length = 24;
  config.sequence.chunk = 5;
  config.train.batch_size = 8;
  config.train.micro_batch_size = 2;
  config.parallel.dp = config.parallel.cp = config.parallel.ep = 2;
  const SmallBatch rows = small_batch(8, 24, *config.model.vocab_size);
  AssembledModel whole = small_model(config.model, Dtype::kF32);
  config.parallel.bucket = int64_t{1} << 40;  // one, at the end
  const WholeStep one = step_on_ranks(config, 4, *whole, rows, Backend::kCpu);
  for (const int64_t bucket : {64, 1000, 4096}) {
    config.parallel.bucket = bucket;
    const WholeStep many = step_on_ranks(config, 4, *whole, rows, Backend::kCpu);
    for (const auto& [name, gradient] : one.gradients) {
      const View a = gradient.view(), b = many.gradients.at(name).view();
      EXPECT_EQ(std::memcmp(a.data, b.data, static_cast<size_t>(a.bytes())), 0) << name << ", " << bucket;
    }
  }
}

}  // namespace
}  // namespace natrix::test
