// The list of carried states, and files whose states differ from it.
#include "core/carry/carry_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/files.h"

namespace natrix::test {
namespace {

using ::testing::HasSubstr;

CarryList two_states() {
  return {{.key = {0, 0}, .name = "layers.0.tail", .spec = {.part = "tail", .row = {3}, .fewest_tokens = 3}},
          {.key = {2, 1}, .name = "layers.2.state", .spec = {.part = "state", .row = {2, 4}}}};
}

TEST(CarryList, SizesAreThoseOfItsStates) {
  const CarryList list = two_states();
  EXPECT_EQ(bytes_of(list, 5), 5 * (3 + 8) * 4);
  EXPECT_EQ(zero_states(list, 5).bytes(), bytes_of(list, 5));
  EXPECT_EQ(list[1].shape(5), (Shape{5, 2, 4}));
  EXPECT_EQ(fewest_tokens(list), 3);
  EXPECT_EQ(fewest_tokens({}), 1);
}

class StatesInAFile : public ::testing::Test {
 protected:
  const ScratchDir dir;
  const std::string path = dir / "carried.safetensors";
  std::map<std::string, Buffer> tensors;

  StatesInAFile() {
    tensors["layers.0.tail"] = Buffer(Dtype::kF32, {5, 3});
    tensors["layers.2.state"] = Buffer(Dtype::kF32, {5, 2, 4});
  }
  std::string complaint() const {
    std::vector<NamedTensor> list;
    for (const auto& [name, buffer] : tensors) list.push_back({name, buffer.view()});
    write_safetensors(path, list);
    try {
      read_states(Safetensors(path), two_states(), 5, "keep the batch size");
    } catch (const InputError& e) {
      return e.what();
    }
    return "";
  }
};

TEST_F(StatesInAFile, ExactlyTheDeclaredOnesAreRead) {
  tensors["layers.2.state"].view().as<float>()[7] = 3;
  ASSERT_EQ(complaint(), "");
  const CarryStates states = read_states(Safetensors(path), two_states(), 5, "");
  EXPECT_EQ(states.entries().size(), 2);
  EXPECT_EQ(states.at({2, 1}).as<float>()[7], 3);
}

TEST_F(StatesInAFile, AMissingOneIsNamed) {
  tensors.erase("layers.2.state");
  EXPECT_THAT(complaint(), HasSubstr("layers.2.state"));
}

TEST_F(StatesInAFile, OneThatNoLayerDeclaresIsNamed) {
  tensors["layers.1.state"] = Buffer(Dtype::kF32, {5, 2, 4});
  EXPECT_THAT(complaint(), HasSubstr("layers.1.state is a state that no layer of this model carries"));
}

TEST_F(StatesInAFile, AnotherShapeOrDtypeIsRefusedWithAdvice) {
  tensors["layers.0.tail"] = Buffer(Dtype::kF32, {4, 3});
  EXPECT_THAT(complaint(), HasSubstr("expected f32[5, 3]: keep the batch size"));
  tensors["layers.0.tail"] = Buffer(Dtype::kF64, {5, 3});
  EXPECT_THAT(complaint(), HasSubstr("layers.0.tail is f64"));
}

}  // namespace
}  // namespace natrix::test
