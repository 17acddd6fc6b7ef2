// One step, however it is shared out over ranks: the loss and the gradients must not depend on it. Auxiliary,
// z and bias terms are on, documents start anywhere, and some targets are left out, unevenly over ranks.
#include <gtest/gtest.h>

#include "distributed/thread_communicator.h"
#include "tests/launch/ranks.h"

namespace natrix::test {
namespace {

constexpr int64_t kRows = 12, kLength = 70;

struct Layout {
  int dp, cp, ep;
  CarryLinkKind link = CarryLinkKind::kRelay;
  int64_t chunk = kLength, micro = kRows;  // micro: rows of all ranks that are in memory at once
  bool hybrid = false;                     // Mamba-2 and attention instead of Mamba-1
  std::string name() const {
    return "dp" + std::to_string(dp) + "cp" + std::to_string(cp) + "ep" + std::to_string(ep) +
           (link == CarryLinkKind::kScan ? "scan" : "") + "_chunk" + std::to_string(chunk) + "_micro" +
           std::to_string(micro) + (hybrid ? "_hybrid" : "");
  }
};

ExperimentConfig experiment(const Layout& l) {
  ExperimentConfig c;
  c.model = l.hybrid ? small_config("SE*(S*)", 1) : small_config();
  c.model.attention.rope = Rope::kDefault;
  c.model.moe.bias_update_rate = 0.01;
  c.model.moe.shared_experts = 1;
  c.sequence.length = kLength;
  c.sequence.chunk = l.chunk;
  c.train.batch_size = kRows;
  c.train.micro_batch_size = l.micro / l.dp;
  c.parallel.dp = l.dp;
  c.parallel.cp = l.cp;
  c.parallel.ep = l.ep;
  c.parallel.cp_link = l.link;
  c.parallel.bucket = 1024;  // small, so that some travel while backward runs
  return c;
}

/// Rows of the first ranks have next to no targets and no documents; those of the last have many.
SmallBatch uneven_rows() {
  SmallBatch b = small_batch(kRows, kLength, 17);
  for (int64_t i = 0; i < 3 * kLength; ++i) {
    if (i % 7 != 0) b.targets.view().as<int64_t>()[i] = kIgnoreTarget;
    b.doc_start.view().as<uint8_t>()[i] = 0;
  }
  return b;
}

class Layouts : public ::testing::TestWithParam<Layout> {
 protected:
  void expect_equal(Dtype dtype, Backend backend, double tolerance) {
    const Layout& l = GetParam();
    const ExperimentConfig config = experiment(l);
    const SmallBatch rows = uneven_rows();
    AssembledModel whole = small_model(config.model, dtype);
    Layout alone{1, 1, 1};
    alone.hybrid = l.hybrid;
    const WholeStep want = step_alone(experiment(alone), *whole, rows, backend);
    const WholeStep got = step_on_ranks(config, l.dp * l.cp, *whole, rows, backend);
    EXPECT_NEAR(got.figures.loss, want.figures.loss, 0.1 * tolerance * want.figures.loss);
    EXPECT_LT(difference(got, want), tolerance);
    EXPECT_NEAR(got.norm, want.norm, tolerance * want.norm);
    EXPECT_EQ(got.figures.predictions, want.figures.predictions);
    EXPECT_EQ(got.figures.tokens, kRows * kLength);
    EXPECT_NEAR(got.figures.aux_loss, want.figures.aux_loss, tolerance * want.figures.aux_loss);
    EXPECT_NEAR(got.figures.z_loss, want.figures.z_loss, tolerance * want.figures.z_loss);
    EXPECT_EQ(got.figures.expert_load, want.figures.expert_load);
    ASSERT_EQ(got.biases.size(), want.biases.size());
    for (const auto& [name, bias] : got.biases) {
      EXPECT_EQ(relative_difference(bias.view(), want.biases.at(name).view()), 0) << name;
    }
  }
};

TEST_P(Layouts, ReferenceInDoubleEqualsOneProcess) {
  expect_equal(Dtype::kF64, Backend::kReference, 1e-11);
}
TEST_P(Layouts, CpuEqualsOneProcess) {
  expect_equal(Dtype::kF32, Backend::kCpu, 1e-5);
}

/// Ranks that share a device, and exchange what lies on it by way of the host.
TEST_P(Layouts, CudaEqualsOneProcess) {
  if (!has_cuda()) GTEST_SKIP() << "no device";
  expect_equal(Dtype::kF32, Backend::kCuda, 1e-5);
}

constexpr CarryLinkKind kScan = CarryLinkKind::kScan;
INSTANTIATE_TEST_SUITE_P(Axes, Layouts,
                         ::testing::Values(Layout{1, 1, 1}, Layout{2, 1, 1}, Layout{3, 1, 1}, Layout{4, 1, 1},
                                           Layout{1, 2, 1}, Layout{1, 3, 1}, Layout{1, 4, 1},
                                           Layout{1, 2, 1, kScan}, Layout{1, 3, 1, kScan},
                                           Layout{1, 4, 1, kScan}, Layout{2, 1, 2}, Layout{3, 1, 3},
                                           Layout{4, 1, 4}),
                         [](const auto& info) { return info.param.name(); });
INSTANTIATE_TEST_SUITE_P(FourRanks, Layouts,
                         ::testing::Values(Layout{4, 1, 2}, Layout{2, 2, 1}, Layout{2, 2, 2}, Layout{2, 2, 4},
                                           Layout{1, 4, 2}, Layout{1, 4, 4}, Layout{2, 2, 4, kScan},
                                           Layout{1, 4, 4, kScan}),
                         [](const auto& info) { return info.param.name(); });
INSTANTIATE_TEST_SUITE_P(ChunksAndAccumulation, Layouts,
                         ::testing::Values(Layout{2, 2, 4, CarryLinkKind::kRelay, 16},
                                           Layout{2, 2, 4, CarryLinkKind::kRelay, 5, 4},
                                           Layout{1, 4, 1, CarryLinkKind::kRelay, 4, 3},
                                           Layout{1, 4, 4, kScan, 7, 4},
                                           Layout{4, 1, 4, CarryLinkKind::kRelay, 16, 4},
                                           Layout{2, 2, 2, kScan, 16, 4}),
                         [](const auto& info) { return info.param.name(); });
constexpr CarryLinkKind kRelay = CarryLinkKind::kRelay;
INSTANTIATE_TEST_SUITE_P(
    Hybrids, Layouts,
    ::testing::Values(Layout{1, 1, 1, kRelay, 16, 4, true}, Layout{4, 1, 2, kRelay, 16, kRows, true},
                      Layout{1, 2, 1, kRelay, 9, kRows, true}, Layout{1, 3, 1, kRelay, kLength, kRows, true},
                      Layout{1, 4, 1, kRelay, 5, 4, true}, Layout{1, 2, 1, kScan, 9, kRows, true},
                      Layout{1, 3, 1, kScan, kLength, kRows, true}, Layout{1, 4, 1, kScan, 7, 4, true},
                      Layout{2, 2, 4, kRelay, 7, 4, true}, Layout{2, 2, 2, kScan, 7, 4, true}),
    [](const auto& info) { return info.param.name(); });

// Boundaries that do not fit into memory are found again by running forward: with states from other ranks,
// too.
class RelayThinned : public ::testing::TestWithParam<Backend> {};
INSTANTIATE_TEST_SUITE_P(Backends, RelayThinned, ::testing::ValuesIn(f32_backends()), backend_name);

TEST_P(RelayThinned, ThinnedBoundariesGiveTheSameBits) {
  for (const CarryLinkKind link : {CarryLinkKind::kRelay, CarryLinkKind::kScan}) {
    ExperimentConfig config = experiment({1, 2, 2, link, 5});
    const SmallBatch rows = uneven_rows();
    AssembledModel whole = small_model(config.model, Dtype::kF32);
    const WholeStep all = step_on_ranks(config, 2, *whole, rows, GetParam());
    for (int64_t slots : {3, 1, 0}) {
      config.sequence.boundary_memory = slots * all.figures.boundary_bytes / 5;  // seven segments
      const WholeStep thinned = step_on_ranks(config, 2, *whole, rows, GetParam());
      EXPECT_EQ(difference(thinned, all), 0) << slots;
      EXPECT_LE(thinned.figures.boundary_bytes, config.sequence.boundary_memory);
    }
  }
}

// States are handed on as they are, so every token keeps the bits of its loss.
TEST(Relay, OnlyTheOrderOfTheSumChangesTheLoss) {
  ExperimentConfig config = experiment({1, 2, 1, CarryLinkKind::kRelay, 35});
  const SmallBatch rows = uneven_rows();
  AssembledModel whole = small_model(config.model, Dtype::kF32);
  ExperimentConfig alone = config;
  const WholeStep want = step_alone(alone, *whole, rows, Backend::kCpu);
  const WholeStep got = step_on_ranks(config, 2, *whole, rows, Backend::kCpu);
  EXPECT_NEAR(got.figures.loss, want.figures.loss, 1e-13 * want.figures.loss);
}

// A boundary costs its states' size, whatever the length of what lies before it.
TEST(Relay, BytesOfABoundaryDoNotDependOnLength) {
  ExperimentConfig config = experiment({1, 2, 1, CarryLinkKind::kRelay, 35});
  const auto sent = [&](int64_t length) {
    config.sequence.length = length;
    config.sequence.chunk = length / 2;
    const SmallBatch rows = small_batch(kRows, length, 17);
    AssembledModel whole = small_model(config.model, Dtype::kF32);
    return step_on_ranks(config, 2, *whole, rows, Backend::kCpu).bytes_sent;
  };
  EXPECT_EQ(sent(20), sent(200));
}

// The layout bugs of others.
//
//   Megatron-LM 3769   the global auxiliary gradient 1 / dp too small
//   Megatron-LM 5047   … dependent on how ranks split the model
//   Automodel 1412     … never flowing at all
//   Automodel 3359     … mis-scaled under gradient accumulation
//   pytorch 160285     expert parallelism doubling gradients (ExpertParallelism, below)
//
// Each is a factor, so the first four show where only the auxiliary loss has a gradient: its size must be
// that of one process, and not zero. Megatron-Bridge 1716 is in rank_checkpoint_test.cpp.
class AuxiliaryGradient : public ::testing::TestWithParam<Layout> {};

TEST_P(AuxiliaryGradient, OfTheRouterHasTheSizeOfOneProcess) {
  const Layout& l = GetParam();
  const auto with_coefficient = [&](double aux, const Layout& layout) {
    ExperimentConfig config = experiment(layout);
    config.model.moe.aux_loss_coef = aux;
    const SmallBatch rows = uneven_rows();
    AssembledModel whole = small_model(config.model, Dtype::kF64);
    return step_on_ranks(config, layout.dp * layout.cp, *whole, rows, Backend::kReference);
  };
  const WholeStep with = with_coefficient(10, l), without = with_coefficient(0, l);
  const WholeStep one_with = with_coefficient(10, {1, 1, 1}), one_without = with_coefficient(0, {1, 1, 1});
  int routers = 0;
  for (const auto& [name, gradient] : with.gradients) {
    if (name.find("router.weight") == std::string::npos) continue;
    ++routers;
    double here = 0, there = 0;  // ⟨auxiliary gradient here, and in one process, with that of one process⟩
    for (int64_t i = 0; i < gradient.view().count(); ++i) {
      const auto at = [i, &name = name](const WholeStep& s) {
        return s.gradients.at(name).view().as<double>()[i];
      };
      here += (at(with) - at(without)) * (at(one_with) - at(one_without));
      there += (at(one_with) - at(one_without)) * (at(one_with) - at(one_without));
    }
    EXPECT_GT(there, 1e-12) << name;
    EXPECT_NEAR(here / there, 1, 1e-9) << name;
  }
  EXPECT_EQ(routers, 2);
}

INSTANTIATE_TEST_SUITE_P(Layouts, AuxiliaryGradient,
                         ::testing::Values(Layout{4, 1, 1}, Layout{1, 4, 1}, Layout{2, 1, 2}, Layout{4, 1, 4},
                                           Layout{2, 1, 1, CarryLinkKind::kRelay, 16, 4}),
                         [](const auto& info) { return info.param.name(); });

TEST(ExpertParallelism, DoesNotMultiplyGradientsOfExperts) {
  const ExperimentConfig config = experiment({4, 1, 2});
  const SmallBatch rows = uneven_rows();
  AssembledModel whole = small_model(config.model, Dtype::kF64);
  const WholeStep want = step_alone(config, *whole, rows, Backend::kReference);
  const WholeStep got = step_on_ranks(config, 4, *whole, rows, Backend::kReference);
  int experts = 0;
  for (const auto& [name, gradient] : got.gradients) {
    if (name.find(".experts.") == std::string::npos) continue;
    ++experts;
    EXPECT_LT(relative_difference(gradient.view(), want.gradients.at(name).view()), 1e-11) << name;
  }
  EXPECT_EQ(experts, 2 * 5 * 3);  // layers, experts, projections: none is lost
}

/// GPUs are shared where that was asked for, and nowhere else.
TEST(DeviceLink, NeedsAGpuForEachRankOrLeaveToShare) {
  EXPECT_EQ(device_link(4, 4, true, false), DeviceLink::kNccl);
  EXPECT_EQ(device_link(4, 4, false, false), DeviceLink::kStaged);
  EXPECT_EQ(device_link(1, 2, true, true), DeviceLink::kStaged);
  try {
    device_link(1, 2, true, false);
    FAIL() << "two ranks on one GPU";
  } catch (const InputError& e) {
    const std::string what = e.what();
    for (const char* word : {"2 ranks", "1 GPU;", "parallel.share_gpus=true"})
      EXPECT_NE(what.find(word), std::string::npos) << what;
  }
}

/// Of machines that differ, the least.
TEST(DeviceLink, IsTheSameOnAllRanks) {
  const auto agreed = [](int without) {
    std::vector<DeviceLink> links(3);
    run_ranks(3, 30, [&](Transport& world) {
      const DeviceLink mine = world.rank() == without ? DeviceLink::kStaged : DeviceLink::kNccl;
      links[static_cast<size_t>(world.rank())] = agreed_link(world, mine);
    });
    return links;
  };
  EXPECT_EQ(agreed(-1), std::vector<DeviceLink>(3, DeviceLink::kNccl));
  for (const int without : {0, 1, 2})
    EXPECT_EQ(agreed(without), std::vector<DeviceLink>(3, DeviceLink::kStaged));
}

TEST(CheckLayout, SaysWhatWouldDo) {
  const auto refusal = [](const Layout& l, int64_t rows, int64_t length) -> std::string {
    ExperimentConfig c = experiment(l);
    c.train.batch_size = rows;
    c.train.micro_batch_size.reset();
    c.sequence.length = length;
    try {
      check_layout(c, needs_of(*describe_model(c.model)), {.dp = l.dp, .cp = l.cp, .ep = l.ep});
    } catch (const InputError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_NE(refusal({4, 1, 1}, 6, 70).find("4 or 8"), std::string::npos) << refusal({4, 1, 1}, 6, 70);
  EXPECT_NE(refusal({6, 1, 6}, 6, 70).find("6 ranks cannot share 5 experts"), std::string::npos);
  EXPECT_NE(refusal({1, 4, 1, CarryLinkKind::kRelay, 8}, 6, 66).find("2 of sequence.length 66 are left"),
            std::string::npos);
  EXPECT_EQ(refusal({1, 4, 1, CarryLinkKind::kRelay, 8}, 6, 68), "");
  EXPECT_NE(refusal({1, 4, 1, kScan, 8}, 6, 68), "");
}

}  // namespace
}  // namespace natrix::test
