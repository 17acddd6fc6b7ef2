// safetensors: round trips, exact conversion, and files made to break a reader.
#include "core/files/safetensors.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>

#include "kernels/base/buffer.h"
#include "tests/core/io_helpers.h"

namespace natrix {
namespace {

using test::mentions;
using test::message_of;
using test::ScratchDir;

/// The bytes of a file with this header text, said to be `length` bytes long, and `data_bytes` of data.
std::string image(std::string_view header, uint64_t length, size_t data_bytes) {
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file.append(header).append(data_bytes, '\1');
}
std::string image(std::string_view header, size_t data_bytes) {
  return image(header, header.size(), data_bytes);
}

std::string entry(std::string_view name, std::string_view dtype, std::string_view shape,
                  std::string_view offsets) {
  return "\"" + std::string(name) + "\":{\"dtype\":\"" + std::string(dtype) +
         "\",\"shape\":" + std::string(shape) + ",\"data_offsets\":" + std::string(offsets) + "}";
}

TEST(Safetensors, RoundTripKeepsEveryDtypeShapeAndByte) {
  const ScratchDir dir;
  const std::vector<std::pair<Dtype, Shape>> kinds = {{Dtype::kU8, {3}},
                                                      {Dtype::kF64, {2, 3}},
                                                      {Dtype::kBF16, {5}},
                                                      {Dtype::kF32, {2, 1, 2, 1, 3}},
                                                      {Dtype::kF16, {1}},
                                                      {Dtype::kI32, {7, 1}},
                                                      {Dtype::kI64, {}},
                                                      {Dtype::kF32, {4, 0}},
                                                      {Dtype::kU8, {0, 1'000'000'000}}};
  std::vector<Buffer> buffers;
  std::vector<NamedTensor> tensors;
  for (const auto& [dtype, shape] : kinds) {
    const View v = buffers.emplace_back(dtype, shape).view();
    for (int64_t i = 0; i < v.bytes(); ++i)
      static_cast<uint8_t*>(v.data)[i] = static_cast<uint8_t>(37 * i + 11);
    tensors.push_back({"tensor " + std::to_string(tensors.size()) + " \"é\n", v});
  }
  write_safetensors(dir / "a.safetensors", tensors, {{"note", "two\nlines"}});
  EXPECT_EQ(test::entries_in(dir.path()), 1);

  const Safetensors file(dir / "a.safetensors");
  EXPECT_EQ(file.tensors().size(), tensors.size());
  EXPECT_EQ(file.metadata().at("note"), "two\nlines");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  for (const NamedTensor& t : tensors) {
    const View v = file.at(t.name);
    EXPECT_EQ(v.to_string(), t.view.to_string());
    EXPECT_EQ(std::memcmp(v.data, t.view.data, static_cast<size_t>(v.bytes())), 0) << t.name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(v.data) % static_cast<uintptr_t>(size_of(v.dtype)), 0u);
  }
}

TEST(Safetensors, StridedRowsAreWrittenContiguous) {
  const ScratchDir dir;
  // Wider than the writer's staging block, so that it has to go round more than once.
  const Buffer whole(Dtype::kF32, {700, 1000});
  float* p = whole.view().as<float>();
  std::iota(p, p + whole.view().count(), 0.0f);
  const View part = whole.view().columns(100, 600);
  write_safetensors(dir / "a.safetensors", {{"part", part}});
  const Safetensors file(dir / "a.safetensors");
  for (int64_t r = 0; r < 700; ++r) {
    ASSERT_EQ(std::memcmp(file.at("part").row<float>(r), part.row<float>(r), 600 * sizeof(float)), 0)
        << "row " << r;
  }
}

TEST(Safetensors, UnalignedDataIsReadAligned) {
  const ScratchDir dir;
  std::string header =
      "{" + entry("b", "U8", "[1]", "[0,1]") + "," + entry("x", "F64", "[2]", "[1,17]") + "}";
  std::string bytes = image(header, 1);
  const double x[] = {1.5, -2.25};
  bytes.append(reinterpret_cast<const char*>(x), sizeof x);
  test::write_file(dir / "a.safetensors", bytes);
  const Safetensors file(dir / "a.safetensors");
  const View v = file.at("x");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(v.data) % sizeof(double), 0u);
  EXPECT_EQ(v.as<double>()[0], 1.5);
  EXPECT_EQ(v.as<double>()[1], -2.25);
}

// The file is sparse: five gigabytes of it exist in its size only.
TEST(Safetensors, OffsetsBeyond32Bits) {
  const ScratchDir dir;
  const std::string path = dir / "a.safetensors";
  const std::string head = image("{" + entry("x", "U8", "[5000000000]", "[0,5000000000]") + "," +
                                     entry("y", "F32", "[2]", "[5000000000,5000000008]") + "}",
                                 0);
  const float y[] = {1.25f, -7.5f};
  test::write_file(path, head);
  std::filesystem::resize_file(path, head.size() + 5'000'000'000);
  std::ofstream(path, std::ios::binary | std::ios::app).write(reinterpret_cast<const char*>(y), sizeof y);
  const Safetensors file(path);
  EXPECT_EQ(file.at("x").count(), 5'000'000'000);
  EXPECT_EQ(file.at("x").as<uint8_t>()[4'999'999'999], 0);
  EXPECT_EQ(file.at("y").as<float>()[1], -7.5f);
}

TEST(Safetensors, WriterTakesRowsInOrderAndInAnyOrder) {
  const ScratchDir dir;
  const Buffer buffer(Dtype::kF32, {6, 2});
  const View v = buffer.view();
  std::iota(v.as<float>(), v.as<float>() + 12, 0.0f);
  {
    // The narrow tensor comes first in the layout and last in the file.
    SafetensorsWriter w(dir / "a.safetensors",
                        {{"n", Dtype::kU8, {3}}, {"e", Dtype::kF32, {0}}, {"x", Dtype::kF32, {6, 2}}});
    const Buffer bytes(Dtype::kU8, {3});
    w.append(bytes.view());
    w.append(v.row_range(0, 2));
    w.append(v.row_range(2, 4));
    w.commit();
  }
  {
    SafetensorsWriter w(dir / "b.safetensors", {{"x", Dtype::kF32, {6, 2}}});
    w.write_at("x", 8, v.row_range(4, 2));
    w.write_at("x", 0, v.row_range(0, 3));
    w.write_at("x", 6, v.row_range(3, 1));
    w.commit();
  }
  for (const char* name : {"a.safetensors", "b.safetensors"}) {
    const Safetensors file(dir / name);
    EXPECT_EQ(std::memcmp(file.at("x").data, v.data, static_cast<size_t>(v.bytes())), 0) << name;
  }
}

TEST(Safetensors, WriterRefusesGapsAndRepeatsAndLeavesNothing) {
  const ScratchDir dir;
  const Buffer rows(Dtype::kF32, {2, 2});
  {
    SafetensorsWriter w(dir / "a.safetensors", {{"x", Dtype::kF32, {6, 2}}});
    w.write_at("x", 0, rows.view());
    EXPECT_THROW(w.write_at("x", 2, rows.view()), ContractError);
    EXPECT_THROW(w.write_at("x", 10, rows.view()), ContractError);
    EXPECT_THROW(w.write_at("y", 0, rows.view()), ContractError);
    w.write_at("x", 8, rows.view());
    EXPECT_THROW(w.commit(), ContractError);
    EXPECT_FALSE(std::filesystem::exists(dir / "a.safetensors"));
  }
  EXPECT_EQ(test::entries_in(dir.path()), 0);
  EXPECT_THROW(write_safetensors(dir / "a.safetensors", {{"x", rows.view()}, {"x", rows.view()}}),
               ContractError);
  EXPECT_EQ(test::entries_in(dir.path()), 0);
}

TEST(Safetensors, MissingTensorAndMissingFileAreNamed) {
  const ScratchDir dir;
  write_safetensors(dir / "a.safetensors", {});
  const Safetensors file(dir / "a.safetensors");
  EXPECT_TRUE(file.tensors().empty());
  const std::string absent = message_of<InputError>([&] { (void)file.at("logits"); });
  EXPECT_TRUE(mentions(absent, "a.safetensors") && mentions(absent, "logits"));
  EXPECT_TRUE(mentions(message_of<InputError>([&] { Safetensors(dir / "none"); }), "No such file"));
  EXPECT_TRUE(mentions(message_of<InputError>([&] { Safetensors(dir.path()); }), "directory"));
}

struct Malformed {
  const char* what;
  std::string bytes;
  std::vector<std::string> mentioned;  // besides the file
};

std::vector<Malformed> malformed_files() {
  const std::string x = entry("x", "F32", "[2]", "[0,8]");
  const auto with = [](const std::string& entries) { return "{" + entries + "}"; };
  const auto one = [&](std::string_view dtype, std::string_view shape, std::string_view offsets,
                       size_t data) { return image(with(entry("x", dtype, shape, offsets)), data); };
  const std::string deep = "{\"__metadata__\":" + std::string(100'000, '[') + "}";
  return {
      {"empty file", "", {"not a safetensors file", "empty"}},
      {"a Git LFS pointer",
       "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 526\n",
       {"not a safetensors file", "Git LFS pointer", "git lfs pull"}},
      {"an HTML page", "<!DOCTYPE html><html><head></head></html>", {"not a safetensors file", "HTML"}},
      {"an HTML page in small letters", "\n  <!doctype HTML>\n<html></html>", {"HTML"}},
      {"an HTML page without a doctype", "<HTML lang=\"en\"><body>404</body>", {"HTML"}},
      {"an error of an object store",
       "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
       {"XML"}},
      {"a pickle", std::string("\x80\x02}q\0X\4\0\0\0", 11), {"pickle", "safetensors"}},
      {"a GGUF file", std::string("GGUF\3\0\0\0\x23\0\0\0\0\0\0\0", 16), {"GGUF"}},
      {"a gzip file", std::string("\x1f\x8b\x08\0\0\0\0\0\0\3", 10), {"gzip"}},
      {"seven bytes", "1234567", {"too few"}},
      {"length only", image("", 2, 0), {"header"}},
      {"empty header", image("", 0), {"not a safetensors file"}},
      {"header past the end", image(with(x), 1000, 8), {"1000", "truncated"}},
      {"header longer than by one", image(with(x), with(x).size() + 9, 8), {"truncated"}},
      {"header of 2^63", image(with(x), uint64_t{1} << 63, 8), {"9223372036854775808"}},
      {"header of 2^64 - 1", image(with(x), ~uint64_t{0}, 8), {"18446744073709551615"}},
      {"header above the limit", image(with(x), 100'000'001, 8), {"100000001"}},
      {"a zip file",
       std::string("PK\3\4") + std::string(100, 'x'),
       {"not a safetensors file", "zip", "PyTorch"}},
      {"header cut by one byte", image(with(x), with(x).size() - 1, 8), {"not valid JSON"}},
      {"binary header", image("{\x01\x02\xff", 8), {"not valid JSON"}},
      {"invalid UTF-8", image("{\"\xff\xfe\":1}", 8), {"not valid JSON"}},
      {"an array", image("[1,2]", 8), {"'{'"}},
      {"a blank before the header", image(" " + with(x), 8), {"'{'"}},
      {"text after the header", image(with(x) + "x", 8), {"not valid JSON"}},
      {"two objects", image(with(x) + "{}", 8), {"not valid JSON"}},
      {"tensor twice", image(with(x + "," + x), 8), {"x", "twice"}},
      {"dtype twice",
       image("{\"x\":{\"dtype\":\"F32\",\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8),
       {"dtype", "twice"}},
      {"nested too deep", image(deep, 0), {"nested"}},
      {"entry is a number", image("{\"x\":5}", 8), {"\"x\"", "not an object"}},
      {"no dtype", image("{\"x\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8), {"\"x\"", "dtype"}},
      {"no shape", image("{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8), {"\"x\"", "shape"}},
      {"no offsets", image("{\"x\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8), {"\"x\"", "data_offsets"}},
      {"unknown dtype", one("F8_E4M3", "[8]", "[0,8]", 8), {"\"x\"", "F8_E4M3", "BF16"}},
      {"dtype is a number",
       image("{\"x\":{\"dtype\":1,\"shape\":[2],\"data_offsets\":[0,8]}}", 8),
       {"\"x\"", "dtype"}},
      {"shape is a string", one("F32", "\"2\"", "[0,8]", 8), {"\"x\"", "shape"}},
      {"negative extent", one("F32", "[-2]", "[0,8]", 8), {"\"x\"", "-2"}},
      {"fractional extent", one("F32", "[2.0]", "[0,8]", 8), {"\"x\"", "2.0"}},
      {"extent is null", one("F32", "[null]", "[0,8]", 8), {"\"x\"", "null"}},
      {"extent above 2^63",
       one("F32", "[9223372036854775808]", "[0,8]", 8),
       {"\"x\"", "9223372036854775808"}},
      {"extent above 2^64", one("F32", "[99999999999999999999]", "[0,8]", 8), {"\"x\""}},
      {"rank 6", one("F32", "[1,1,1,1,1,2]", "[0,8]", 8), {"\"x\"", "6 dimensions"}},
      {"product overflows to 0", one("F32", "[4294967296,4294967296]", "[0,0]", 0), {"\"x\"", "overflows"}},
      {"product overflows to 8", one("U8", "[9223372036854775804,2]", "[0,8]", 8), {"\"x\"", "overflows"}},
      {"bytes overflow", one("F64", "[2305843009213693952]", "[0,0]", 0), {"\"x\"", "overflows"}},
      {"overflow hidden by a zero",
       one("F32", "[4294967296,4294967296,0]", "[0,0]", 0),
       {"\"x\"", "overflows"}},
      {"one offset", one("F32", "[2]", "[0]", 8), {"\"x\"", "data_offsets"}},
      {"three offsets", one("F32", "[2]", "[0,8,8]", 8), {"\"x\"", "data_offsets"}},
      {"negative offset", one("F32", "[2]", "[-8,0]", 8), {"\"x\"", "-8"}},
      {"end before begin", one("F32", "[2]", "[8,0]", 8), {"\"x\"", "before"}},
      {"past the end", one("F32", "[4]", "[0,16]", 8), {"\"x\"", "truncated"}},
      {"offsets near 2^63",
       one("F32", "[2]", "[9223372036854775799,9223372036854775807]", 8),
       {"\"x\"", "truncated"}},
      {"size too small", one("F32", "[2]", "[0,4]", 4), {"\"x\"", "8 bytes"}},
      {"size too large", one("F16", "[2]", "[0,8]", 8), {"\"x\"", "4 bytes"}},
      {"scalar of eight bytes", one("F32", "[]", "[0,8]", 8), {"\"x\"", "4 bytes"}},
      {"overlap", image(with(x + "," + entry("y", "F32", "[2]", "[4,12]")), 12), {"\"y\"", "overlaps"}},
      {"the same bytes twice", image(with(x + "," + entry("y", "F32", "[2]", "[0,8]")), 8), {"overlaps"}},
      {"hole", image(with(x + "," + entry("y", "F32", "[2]", "[12,20]")), 20), {"\"y\"", "hole"}},
      {"hole at the start", one("F32", "[2]", "[4,12]", 12), {"\"x\"", "hole"}},
      {"bytes after the data", image(with(x), 9), {"8 bytes", "9"}},
      {"truncated data", image(with(x), 7), {"\"x\"", "truncated"}},
      {"metadata is an array", image("{\"__metadata__\":[]}", 0), {"__metadata__"}},
      {"metadata is a number", image("{\"__metadata__\":0}", 0), {"__metadata__"}},
      {"metadata is false", image("{\"__metadata__\":false}", 0), {"__metadata__"}},
      {"metadata is a text", image("{\"__metadata__\":\"\"}", 0), {"__metadata__"}},
      {"metadata holds a null", image("{\"__metadata__\":{\"a\":null}}", 0), {"__metadata__", "\"a\""}},
      {"metadata twice", image("{\"__metadata__\":null,\"__metadata__\":{}}", 0), {"__metadata__", "twice"}},
      {"a number that JSON lacks", image("{\"x\":Infinity}", 0), {"not valid JSON"}},
      {"metadata holds a number", image("{\"__metadata__\":{\"a\":1}}", 0), {"__metadata__", "\"a\""}},
      {"a name that is hard on a terminal", image("{\"\\u001b[2J\":5}", 0), {"\\x1b[2J"}},
  };
}

// The first bytes are the header's length, and some lengths are how other files begin.
TEST(Safetensors, HeadersOfEveryLengthAreRead) {
  const ScratchDir dir;
  const std::string x = "{" + entry("x", "F32", "[2]", "[0,8]") + "}";
  for (const size_t length :
       {0x0280u, 0x0380u, 0x0480u, 0x0580u, 0x8b1fu, 0x213cu, 0x683cu, 0x3f3cu, 0x4b50u}) {
    const std::string good = image(x + std::string(length - x.size(), ' '), 8);
    test::write_file(dir / "a", good);
    EXPECT_EQ(Safetensors(dir / "a").at("x").count(), 2) << length;
    for (const size_t kept : {good.size() - 1, size_t{100}, size_t{9}}) {
      test::write_file(dir / "a", good.substr(0, kept));
      EXPECT_TRUE(mentions(message_of<InputError>([&] { Safetensors(dir / "a"); }), "truncated")) << length;
    }
    for (const size_t kept : {8, 7}) {
      test::write_file(dir / "a", good.substr(0, kept));
      const std::string message = message_of<InputError>([&] { Safetensors(dir / "a"); });
      EXPECT_EQ(message.find("pickle"), std::string::npos) << length;
    }
  }
}

TEST(Safetensors, MetadataMayBeEmptyOrNull) {
  const ScratchDir dir;
  const std::string x = entry("x", "F32", "[2]", "[0,8]");
  for (const std::string metadata : {"null", "{}", "  null ", "{ }"}) {
    test::write_file(dir / "a", image("{\"__metadata__\":" + metadata + "," + x + "}", 8));
    const Safetensors file(dir / "a");
    EXPECT_TRUE(file.metadata().empty()) << metadata;
    EXPECT_EQ(file.at("x").count(), 2) << metadata;
  }
}

TEST(Safetensors, MalformedFilesAreRefusedByName) {
  const ScratchDir dir;
  const std::string path = dir / "bad.safetensors";
  for (const Malformed& m : malformed_files()) {
    SCOPED_TRACE(m.what);
    test::write_file(path, m.bytes);
    const std::string message = message_of<InputError>([&] { Safetensors file(path); });
    EXPECT_TRUE(mentions(message, path));
    EXPECT_LT(message.size(), path.size() + 400);
    for (const std::string& part : m.mentioned) EXPECT_TRUE(mentions(message, part));
  }
}

TEST(Safetensors, EveryTruncationOfAGoodFileIsRefused) {
  const ScratchDir dir;
  const Buffer a(Dtype::kF32, {3}), b(Dtype::kU8, {5});
  write_safetensors(dir / "good", {{"a", a.view()}, {"b", b.view()}});
  const std::string good = test::read_file(dir / "good");
  for (size_t length = 0; length < good.size(); ++length) {
    test::write_file(dir / "bad", good.substr(0, length));
    EXPECT_THROW(Safetensors(dir / "bad"), InputError) << length << " bytes";
  }
}

TEST(LoadFloat, BrainFloatsAreExact) {
  const Buffer stored(Dtype::kBF16, {65536}), loaded(Dtype::kF32, {65536});
  auto* bits = static_cast<uint16_t*>(stored.view().data);
  for (int i = 0; i < 65536; ++i) bits[i] = static_cast<uint16_t>(i);
  load_float(stored.view(), loaded.view());
  for (uint32_t i = 0; i < 65536; ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(loaded.view().as<float>()[i]), i << 16) << i;
  }
}

// Against the definition: (-1)^s · 2^(e-15) · (1 + f/1024), subnormals 2^-14 · f/1024.
TEST(LoadFloat, HalvesAreExactWithSubnormalsAndInfinities) {
  const Buffer stored(Dtype::kF16, {65536}), single(Dtype::kF32, {65536}), twice(Dtype::kF64, {65536});
  auto* bits = static_cast<uint16_t*>(stored.view().data);
  for (int i = 0; i < 65536; ++i) bits[i] = static_cast<uint16_t>(i);
  load_float(stored.view(), single.view());
  load_float(stored.view(), twice.view());
  for (int i = 0; i < 65536; ++i) {
    const int exponent = i >> 10 & 31, fraction = i & 1023;
    double expected = exponent == 0    ? std::ldexp(fraction, -24)
                      : exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
                                       : std::ldexp(1024 + fraction, exponent - 25);
    if (i & 0x8000) expected = -expected;
    const float got = single.view().as<float>()[i];
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(got) && std::isnan(twice.view().as<double>()[i])) << i;
    } else {
      ASSERT_EQ(got, expected) << i;
      ASSERT_EQ(std::signbit(got), std::signbit(expected)) << i;
      ASSERT_EQ(twice.view().as<double>()[i], expected) << i;
    }
  }
}

TEST(LoadFloat, WideFloatsKeepTheirBitsAndIntegersAreRefused) {
  const double values[] = {0.0, -0.0, 5e-324, 1.0 / 3, 1e300, -INFINITY};
  const Buffer stored(Dtype::kF64, {6}), same(Dtype::kF64, {6}), narrow(Dtype::kF32, {6});
  std::memcpy(stored.view().data, values, sizeof values);
  load_float(stored.view(), same.view());
  EXPECT_EQ(std::memcmp(same.view().data, values, sizeof values), 0);
  load_float(stored.view(), narrow.view());
  for (int i = 0; i < 6; ++i) EXPECT_EQ(narrow.view().as<float>()[i], static_cast<float>(values[i]));
  const Buffer ids(Dtype::kI64, {6});
  EXPECT_TRUE(mentions(message_of<InputError>([&] { load_float(ids.view(), same.view()); }), "i64"));
}

}  // namespace
}  // namespace natrix
