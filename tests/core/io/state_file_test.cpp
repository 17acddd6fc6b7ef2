// Prefix states: constant in size, bound to their model, refused when damaged.
#include "core/io/state_file.h"

#include <cstring>
#include <gtest/gtest.h>

#include "kernels/base/buffer.h"
#include "tests/core/io_helpers.h"

namespace natrix {
namespace {

using test::mentions;
using test::message_of;
using test::ScratchDir;

constexpr const char* kModel = "0123456789abcdef";

struct ToyState {
  explicit ToyState(float first = 0) {
    for (const NamedTensor& t : tensors) {
      for (int64_t i = 0; i < t.view.count(); ++i) t.view.as<float>()[i] = first + static_cast<float>(i);
    }
  }
  Buffer conv{Dtype::kF32, {1, 3, 8}}, ssm{Dtype::kF32, {1, 8, 4}};
  std::vector<NamedTensor> tensors = {{"0.conv_tail", conv.view()}, {"0.ssm", ssm.view()}};
};

TEST(StateFile, RoundTrip) {
  const ScratchDir dir;
  const ToyState written(3);
  write_state_file(dir / "s", {kModel, 1'000'000'000, "M × 1, d 4"}, written.tensors);
  const StateFile read(dir / "s", kModel);
  EXPECT_EQ(read.info().tokens, 1'000'000'000);
  EXPECT_EQ(read.info().about, "M × 1, d 4");
  for (const NamedTensor& t : written.tensors) {
    EXPECT_EQ(std::memcmp(read.tensors().at(t.name).data, t.view.data, static_cast<size_t>(t.view.bytes())),
              0);
  }
  EXPECT_EQ(read_state_info(dir / "s").model, kModel);
}

TEST(StateFile, SizeDoesNotDependOnThePosition) {
  const ScratchDir dir;
  const ToyState state;
  write_state_file(dir / "a", {kModel, 0, "m"}, state.tensors);
  write_state_file(dir / "b", {kModel, 999'999'999'999'999'999, "m"}, state.tensors);
  EXPECT_EQ(std::filesystem::file_size(dir / "a"), std::filesystem::file_size(dir / "b"));
  EXPECT_EQ(read_state_info(dir / "b").tokens, 999'999'999'999'999'999);
}

TEST(StateFile, AnotherModelIsRefusedWithBothNames) {
  const ScratchDir dir;
  const ToyState state;
  write_state_file(dir / "s", {kModel, 5, "M × 1"}, state.tensors);
  const std::string message = message_of<InputError>([&] { StateFile(dir / "s", "fedcba9876543210"); });
  for (const char* part : {"another model", kModel, "fedcba9876543210", "M", "read the text again"}) {
    EXPECT_TRUE(mentions(message, part));
  }
  EXPECT_TRUE(mentions(message, dir / "s"));
}

TEST(StateFile, EveryTruncationAndEveryDamagedByteOfTheTensorsIsRefused) {
  const ScratchDir dir;
  const ToyState state(3);
  write_state_file(dir / "s", {kModel, 5, "m"}, state.tensors);
  const std::string good = test::read_file(dir / "s");
  const auto data_bytes = static_cast<size_t>(state.conv.bytes() + state.ssm.bytes());
  for (size_t length = 0; length < good.size(); ++length) {
    test::write_file(dir / "bad", good.substr(0, length));
    EXPECT_THROW(StateFile(dir / "bad", kModel), InputError) << length;
  }
  for (size_t i = good.size() - data_bytes; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    test::write_file(dir / "bad", bad);
    EXPECT_TRUE(mentions(message_of<InputError>([&] { StateFile(dir / "bad", kModel); }), "damaged"));
  }
}

TEST(StateFile, OtherFilesAreRefused) {
  const ScratchDir dir;
  const ToyState state;
  write_safetensors(dir / "s", state.tensors);
  EXPECT_TRUE(mentions(message_of<InputError>([&] { read_state_info(dir / "s"); }), "not a state file"));
  for (const auto& [key, value] : {std::pair{"natrix_state", "2"},
                                   {"tokens", "5"},
                                   {"tokens", "00000000000000000x"},
                                   {"tokens", "99999999999999999999"},
                                   {"checksum", "0"}}) {
    std::map<std::string, std::string> metadata = {{"natrix_state", "1"},
                                                   {"tokens", "000000000000000005"},
                                                   {"model", kModel},
                                                   {"checksum", "0"},
                                                   {"about", ""}};
    metadata[key] = value;
    write_safetensors(dir / "s", state.tensors, metadata);
    EXPECT_TRUE(mentions(message_of<InputError>([&] { read_state_info(dir / "s"); }), value));
  }
  EXPECT_THROW(read_state_info(dir / "none"), InputError);
}

}  // namespace
}  // namespace natrix
