#include "core/gguf/gguf_writer.h"

#include <algorithm>

#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr uint32_t kVersion = 3;
constexpr int64_t kAlignment = 32;  // the format's default, so that no key has to say it

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& out, std::string_view text) {
  put<uint64_t>(out, text.size());
  out.append(text);
}

int64_t round_up(int64_t n) {
  return (n + kAlignment - 1) / kAlignment * kAlignment;
}

int64_t stored_bytes(const GgufEntry& e) {
  const GgufTypeTraits& traits = traits_of(e.type);
  int64_t elements = 1;
  for (const int64_t extent : e.extents) elements *= extent;
  require(e.extents.empty() ? traits.block == 1 : e.extents[0] % traits.block == 0,
          "a row is not a whole number of blocks");
  return elements / traits.block * traits.block_bytes;
}

}  // namespace

void GgufMetadata::begin(std::string_view key, GgufValueType type) {
  require(std::ranges::find(keys_, key) == keys_.end(), "a metadata key is written twice");
  keys_.emplace_back(key);
  put_text(encoded_, key);
  put(encoded_, type);
}

void GgufMetadata::begin_array(std::string_view key, GgufValueType element, size_t count) {
  begin(key, GgufValueType::kArray);
  put(encoded_, element);
  put<uint64_t>(encoded_, count);
}

void GgufMetadata::u32(std::string_view key, int64_t value) {
  require(value >= 0 && value <= int64_t{UINT32_MAX}, "a metadata value does not fit into u32");
  begin(key, GgufValueType::kU32);
  put(encoded_, static_cast<uint32_t>(value));
}

void GgufMetadata::f32(std::string_view key, double value) {
  begin(key, GgufValueType::kF32);
  put(encoded_, static_cast<float>(value));
}

void GgufMetadata::boolean(std::string_view key, bool value) {
  begin(key, GgufValueType::kBool);
  put<uint8_t>(encoded_, value ? 1 : 0);
}

void GgufMetadata::text(std::string_view key, std::string_view value) {
  begin(key, GgufValueType::kText);
  put_text(encoded_, value);
}

void GgufMetadata::bytes(std::string_view key, std::string_view values) {
  begin_array(key, GgufValueType::kU8, values.size());
  encoded_.append(values);
}

void GgufMetadata::i32s(std::string_view key, const std::vector<int32_t>& values) {
  begin_array(key, GgufValueType::kI32, values.size());
  for (const int32_t v : values) put(encoded_, v);
}

void GgufMetadata::u32s(std::string_view key, const std::vector<int64_t>& values) {
  begin_array(key, GgufValueType::kU32, values.size());
  for (const int64_t v : values) {
    require(v >= 0 && v <= int64_t{UINT32_MAX}, "a metadata value does not fit into u32");
    put(encoded_, static_cast<uint32_t>(v));
  }
}

void GgufMetadata::texts(std::string_view key, const std::vector<std::string>& values) {
  begin_array(key, GgufValueType::kText, values.size());
  for (const std::string& v : values) put_text(encoded_, v);
}

GgufWriter::GgufWriter(const std::string& path, const GgufMetadata& metadata,
                       const std::vector<GgufEntry>& layout)
    : file_(path) {
  std::string header = "GGUF";
  put(header, kVersion);
  put<uint64_t>(header, layout.size());
  put<int64_t>(header, metadata.count());
  header += metadata.encoded();
  int64_t next = 0;
  for (const GgufEntry& e : layout) {
    put_text(header, e.name);
    put(header, static_cast<uint32_t>(e.extents.size()));
    for (const int64_t extent : e.extents) put(header, static_cast<uint64_t>(extent));
    put(header, e.type);
    put(header, static_cast<uint64_t>(next));
    ranges_.emplace_back(next, next + stored_bytes(e));
    next = round_up(ranges_.back().second);
  }
  header.resize(static_cast<size_t>(round_up(static_cast<int64_t>(header.size()))), '\0');
  const auto data = static_cast<int64_t>(header.size());
  for (auto& [begin, end] : ranges_) {
    begin += data;
    end += data;
  }
  end_ = data + next;
  file_.reserve(end_);
  file_.write_at(0, header.data(), data);
  at_ = ranges_.empty() ? end_ : ranges_[0].first;
}

void GgufWriter::append(const void* data, int64_t bytes) {
  require(tensor_ < ranges_.size() && at_ + bytes <= ranges_[tensor_].second,
          "more bytes than the tensor has are written");
  file_.write_at(at_, data, bytes);
  at_ += bytes;
  if (at_ < ranges_[tensor_].second) return;
  ++tensor_;
  const int64_t next = tensor_ < ranges_.size() ? ranges_[tensor_].first : end_;
  const std::string padding(static_cast<size_t>(next - at_), '\0');
  if (!padding.empty()) file_.write_at(at_, padding.data(), next - at_);
  at_ = next;
}

void GgufWriter::commit() {
  require(tensor_ == ranges_.size(), "a GGUF file is committed before its tensors are written");
  file_.commit();
}

}  // namespace natrix
