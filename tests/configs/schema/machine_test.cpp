// Machines: strict YAML like experiments, but without defaults.
#include "configs/schema/machine.h"

#include "tests/configs/schema/minimal.h"

namespace natrix {
namespace {

std::string refusal(const std::string& name) {
  try {
    load_machine(name);
    return "";
  } catch (const ConfigError& e) {
    return e.what();
  }
}

TEST(Machine, ThoseThatCameWithNatrixLoadByName) {
  ASSERT_FALSE(machine_names().empty());
  for (const std::string& name : machine_names()) EXPECT_EQ(refusal(name), "") << name;
  const MachineConfig h100 = load_machine("h100");
  EXPECT_EQ(h100.memory.size, 80'000'000'000);
  EXPECT_EQ(h100.node_devices, 8);
  EXPECT_DOUBLE_EQ(*h100.flops(DeviceDtype::kFp32), 67.0e12 * h100.compute.fraction);
  EXPECT_FALSE(h100.flops(DeviceDtype::kFp64));
}

TEST(Machine, AnUnknownNameIsToldWhatThereIs) {
  const std::string told = refusal("h10");
  EXPECT_TRUE(contains(told, "--device: h10")) << told;
  EXPECT_TRUE(contains(told, "did you mean h100?")) << told;
  EXPECT_TRUE(contains(told, "mine.yaml")) << told;
}

TEST_F(ConfigFiles, AMachineNeedsEveryKeyAndKnowsNoOther) {
  const std::string some = write("mine.yaml", "device: {name: mine, backend: cpu}\nmemory: {sizes: 1GiB}\n");
  const std::string wrong = refusal(some);
  EXPECT_TRUE(contains(wrong, "mine.yaml:2: memory.sizes: is not a key; did you mean memory.size?")) << wrong;
  const std::string rest = refusal(write("few.yaml", "device: {name: mine, backend: cpu}\n"));
  EXPECT_TRUE(contains(rest, "compute.fp32: missing")) << rest;
  EXPECT_TRUE(contains(rest, "network.overhead: missing")) << rest;
  EXPECT_FALSE(contains(rest, "device.name")) << rest;
  EXPECT_TRUE(contains(refusal(write("none.yaml", "# nothing\n")), "a machine needs device")) << "no keys";
}

}  // namespace
}  // namespace natrix
