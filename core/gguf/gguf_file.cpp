#include "core/gguf/gguf_file.h"

#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <utility>

#include "core/files/json.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

template <class T>
T load_at(std::string_view bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * static_cast<int64_t>(sizeof value), sizeof value);
  return value;
}

bool is_integer(GgufValueType type) {
  switch (type) {
    case GgufValueType::kU8:
    case GgufValueType::kI8:
    case GgufValueType::kU16:
    case GgufValueType::kI16:
    case GgufValueType::kU32:
    case GgufValueType::kI32:
    case GgufValueType::kU64:
    case GgufValueType::kI64: return true;
    default: return false;
  }
}

/// Empty if the value does not fit or is no integer.
std::optional<int64_t> integer_at(std::string_view bytes, GgufValueType type, int64_t index) {
  switch (type) {
    case GgufValueType::kU8: return load_at<uint8_t>(bytes, index);
    case GgufValueType::kI8: return load_at<int8_t>(bytes, index);
    case GgufValueType::kU16: return load_at<uint16_t>(bytes, index);
    case GgufValueType::kI16: return load_at<int16_t>(bytes, index);
    case GgufValueType::kU32: return load_at<uint32_t>(bytes, index);
    case GgufValueType::kI32: return load_at<int32_t>(bytes, index);
    case GgufValueType::kI64: return load_at<int64_t>(bytes, index);
    case GgufValueType::kU64: {
      const auto value = load_at<uint64_t>(bytes, index);
      if (std::in_range<int64_t>(value)) return static_cast<int64_t>(value);
      return {};
    }
    default: return {};
  }
}

std::optional<double> number_at(std::string_view bytes, GgufValueType type, int64_t index) {
  if (type == GgufValueType::kF32) return load_at<float>(bytes, index);
  if (type == GgufValueType::kF64) return load_at<double>(bytes, index);
  return {};
}

/// The value for a message.
std::string shown(const GgufValue& v) {
  if (v.type == GgufValueType::kText) return "the text " + excerpt(v.bytes);
  if (v.type == GgufValueType::kArray) return fmt::format("an array of {} {}", v.count, name_of(v.element));
  if (v.type == GgufValueType::kBool) return v.bytes[0] != 0 ? "true" : "false";
  if (const auto number = number_at(v.bytes, v.type, 0)) return fmt::format("{:g}", *number);
  const auto value = integer_at(v.bytes, v.type, 0);
  return value ? std::to_string(*value) : std::to_string(load_at<uint64_t>(v.bytes, 0));
}

}  // namespace

GgufFile::GgufFile(const std::string& path)
    : file_(std::make_unique<MappedFile>(path)),
      origin_(path),
      header_(parse_gguf_header(file_->text(), origin_)) {}

GgufFile::GgufFile(std::string_view bytes, std::string origin)
    : origin_(std::move(origin)), header_(parse_gguf_header(bytes, origin_)) {}

const GgufTensor& GgufFile::tensor(const std::string& name) const {
  const auto found = header_.tensors.find(name);
  if (found == header_.tensors.end()) {
    throw InputError(fmt::format("{}: tensor {} is missing", origin_, excerpt(name)));
  }
  return found->second;
}

const GgufValue& GgufFile::at(const std::string& key) const {
  const auto found = header_.metadata.find(key);
  if (found == header_.metadata.end()) {
    throw InputError(fmt::format("{}: the metadata lack key {}", origin_, excerpt(key)));
  }
  return found->second;
}

void GgufFile::fail(const std::string& key, std::string_view expected) const {
  throw InputError(
      fmt::format("{}: key {} is {}; expected {}", origin_, excerpt(key), shown(at(key)), expected));
}

int64_t GgufFile::integer(const std::string& key, int64_t least, int64_t most,
                          std::optional<int64_t> fallback) const {
  if (fallback && !has(key)) return *fallback;
  const GgufValue& v = at(key);
  const auto value = integer_at(v.bytes, v.type, 0);
  if (!value || *value < least || *value > most)
    fail(key, fmt::format("an integer from {} to {}", least, most));
  return *value;
}

double GgufFile::number(const std::string& key, double least, double most,
                        std::optional<double> fallback) const {
  if (fallback && !has(key)) return *fallback;
  const GgufValue& v = at(key);
  const auto value = number_at(v.bytes, v.type, 0);
  if (!value || !(*value >= least && *value <= most)) {
    fail(key, fmt::format("an f32 or f64 from {:g} to {:g}", least, most));
  }
  return *value;
}

bool GgufFile::boolean(const std::string& key, std::optional<bool> fallback) const {
  if (fallback && !has(key)) return *fallback;
  const GgufValue& v = at(key);
  if (v.type != GgufValueType::kBool) fail(key, "a bool");
  return v.bytes[0] != 0;
}

std::string_view GgufFile::text(const std::string& key, std::optional<std::string_view> fallback) const {
  if (fallback && !has(key)) return *fallback;
  const GgufValue& v = at(key);
  if (v.type != GgufValueType::kText) fail(key, "a text");
  return v.bytes;
}

std::vector<int64_t> GgufFile::integers(const std::string& key) const {
  const GgufValue& v = at(key);
  if (v.type != GgufValueType::kArray || !is_integer(v.element)) fail(key, "an array of integers");
  std::vector<int64_t> values(static_cast<size_t>(v.count));
  for (int64_t i = 0; i < v.count; ++i) {
    const auto value = integer_at(v.bytes, v.element, i);
    if (!value) fail(key, "an array of integers up to 2^63 - 1");
    values[static_cast<size_t>(i)] = *value;
  }
  return values;
}

std::vector<double> GgufFile::numbers(const std::string& key) const {
  const GgufValue& v = at(key);
  const bool floats = v.element == GgufValueType::kF32 || v.element == GgufValueType::kF64;
  if (v.type != GgufValueType::kArray || !floats) fail(key, "an array of f32 or f64");
  std::vector<double> values(static_cast<size_t>(v.count));
  for (int64_t i = 0; i < v.count; ++i) {
    values[static_cast<size_t>(i)] = *number_at(v.bytes, v.element, i);
    if (!std::isfinite(values[static_cast<size_t>(i)])) fail(key, "an array of finite numbers");
  }
  return values;
}

std::vector<std::string_view> GgufFile::texts(const std::string& key) const {
  const GgufValue& v = at(key);
  if (v.type != GgufValueType::kArray || v.element != GgufValueType::kText) fail(key, "an array of texts");
  std::vector<std::string_view> values;
  values.reserve(static_cast<size_t>(v.count));
  for (std::string_view rest = v.bytes; values.size() < static_cast<size_t>(v.count);) {
    const auto length = static_cast<size_t>(load_at<uint64_t>(rest, 0));  // checked with the header
    values.push_back(rest.substr(8, length));
    rest.remove_prefix(8 + length);
  }
  return values;
}

std::string_view GgufFile::bytes(const std::string& key) const {
  const GgufValue& v = at(key);
  if (v.type != GgufValueType::kArray || v.element != GgufValueType::kU8) fail(key, "an array of u8");
  return v.bytes;
}

std::vector<int64_t> GgufFile::integers_for(const std::string& key, int64_t count, int64_t least,
                                            int64_t most) const {
  if (at(key).type != GgufValueType::kArray) {
    return std::vector<int64_t>(static_cast<size_t>(count), integer(key, least, most));
  }
  const std::string expected = fmt::format("{} integers from {} to {}", count, least, most);
  if (at(key).count != count) fail(key, expected);
  std::vector<int64_t> values = integers(key);
  for (const int64_t value : values) {
    if (value < least || value > most) fail(key, fmt::format("{}; one is {}", expected, value));
  }
  return values;
}

bool is_gguf_path(std::string_view path) {
  return path.ends_with(".gguf");
}

}  // namespace natrix
