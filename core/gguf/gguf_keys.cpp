#include "core/gguf/gguf_keys.h"

#include <algorithm>
#include <fmt/format.h>
#include <functional>

#include "core/files/json.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

/// 1e-5 and not 9.99999974737875e-06.
double fewest_digits(double stored) {
  const auto single = static_cast<float>(stored);
  return static_cast<double>(single) == stored ? std::stod(fmt::format("{}", single)) : stored;
}

}  // namespace

GgufKeys::GgufKeys(const GgufFile& file, std::string_view architecture)
    : file_(&file), prefix_(std::string(architecture) + ".") {}

GgufKeys::GgufKeys(GgufMetadata& out, std::string_view architecture, int64_t context)
    : out_(&out), prefix_(std::string(architecture) + "."), context_(context) {}

void GgufKeys::integer(const std::string& key, int64_t& value, int64_t least, int64_t most,
                       std::optional<int64_t> fallback) const {
  if (reading()) {
    value = file_->integer(full(key), least, most, fallback);
  } else {
    out_->u32(full(key), value);
  }
}

void GgufKeys::number(const std::string& key, double& value, double least, double most,
                      std::optional<double> fallback) const {
  if (reading()) {
    value = fewest_digits(file_->number(full(key), least, most, fallback));
  } else {
    out_->f32(full(key), value);
  }
}

void GgufKeys::boolean(const std::string& key, bool& value, std::optional<bool> fallback) const {
  if (reading()) {
    value = file_->boolean(full(key), fallback);
  } else {
    out_->boolean(full(key), value);
  }
}

void GgufKeys::text(const std::string& key, std::string& value) const {
  if (reading()) {
    value = file_->text(full(key));
  } else {
    out_->text(full(key), value);
  }
}

void GgufKeys::per_layer(const std::string& key, std::vector<int64_t>& values, int64_t least,
                         int64_t most) const {
  if (reading()) {
    values = file_->integers_for(full(key), static_cast<int64_t>(values.size()), least, most);
  } else if (std::ranges::adjacent_find(values, std::not_equal_to<>()) == values.end()) {
    out_->u32(full(key), values.at(0));  // every reader knows the single number
  } else {
    out_->u32s(full(key), values);
  }
}

void GgufKeys::for_all_layers(const std::string& key, int64_t layers, int64_t& value, int64_t least,
                              int64_t most) const {
  if (!reading()) return out_->u32(full(key), value);
  const std::vector<int64_t> values = file_->integers_for(full(key), layers, 0, most);
  value = *std::ranges::max_element(values);
  const bool uniform = std::ranges::all_of(values, [&](int64_t v) { return v == 0 || v == value; });
  if (!uniform || value < least) fail(key, fmt::format("one integer of at least {} for all layers", least));
}

void GgufKeys::constant(const std::string& key, int64_t value) const {
  if (!reading()) out_->u32(full(key), value);
}

bool GgufKeys::has(const std::string& key) const {
  return file_->has(full(key));
}

bool GgufKeys::any_layer_has(std::string_view tensor) const {
  const std::string end = "." + std::string(tensor);
  return std::ranges::any_of(file_->tensors(), [&](const auto& t) { return t.first.ends_with(end); });
}

bool GgufKeys::has_tensor(std::string_view name) const {
  return file_->tensors().contains(name);
}

void GgufKeys::fail(const std::string& key, std::string_view expected) const {
  file_->fail(full(key), expected);
}

}  // namespace natrix
