// Keys that several families share.
#include "core/hf/config_keys.h"

#include <cmath>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "kernels/base/check.h"
#include "tests/core/io_helpers.h"

namespace natrix {
namespace {

using test::mentions;
using test::message_of;

std::pair<double, double> limits_of(const std::string& value) {
  const nlohmann::json whole =
      parse_json("{\"time_step_limit\": " + value + "}", "dir/config.json", NonFinite::kTagged);
  return hf::limits(JsonObject(whole, "dir/config.json"), "time_step_limit", {0.5, 2.0});
}

TEST(HfConfigKeys, LimitsMayBeInfiniteInBothSpellings) {
  EXPECT_EQ(limits_of("[0.001, 0.1]"), std::pair(0.001, 0.1));
  for (const char* most : {"Infinity", R"({"__float__": "Infinity"})"}) {
    const auto [least, top] = limits_of(std::string("[0, ") + most + "]");
    EXPECT_EQ(least, 0);
    EXPECT_TRUE(std::isinf(top)) << most;
  }
  const nlohmann::json empty = nlohmann::json::object();
  EXPECT_EQ(hf::limits(JsonObject(empty, "config.json"), "time_step_limit", {0.5, 2.0}), std::pair(0.5, 2.0));
}

TEST(HfConfigKeys, WrongLimitsAreRefusedByFileAndKey) {
  for (const char* value : {"null", "1", "[]", "[1]", "[1, 2, 3]", "[2, 1]", "[-1, 1]", "[NaN, 1]",
                            "[0, -Infinity]", "[\"0\", 1]", R"([0, {"__float__": "big"}])"}) {
    const std::string message = message_of<InputError>([&] { limits_of(value); });
    EXPECT_TRUE(mentions(message, "dir/config.json: key \"time_step_limit\" is ")) << value;
    EXPECT_TRUE(mentions(message, "expected two numbers")) << value;
  }
}

TEST(HfConfigKeys, AStackIsTheShortestPatternRepeated) {
  for (const auto& [stack, pattern, repeat] :
       {std::tuple("MMMM", "M", 4), std::tuple("MEM-MEM-", "MEM-", 2), std::tuple("MME", "MME", 1),
        std::tuple("MEMEM", "MEMEM", 1)}) {
    ModelConfig c;
    hf::set_stack(c, stack);
    EXPECT_EQ(c.pattern, pattern);
    EXPECT_EQ(c.repeat, repeat);
  }
}

}  // namespace
}  // namespace natrix
