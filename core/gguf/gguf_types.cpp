#include "core/gguf/gguf_types.h"

#include <algorithm>
#include <fmt/format.h>

#include "kernels/base/check.h"

namespace natrix {
namespace {

struct ValueTraits {
  const char* name;
  int64_t bytes;
};

// By the type's number.
constexpr std::array<ValueTraits, 13> kValueTypes = {{{"u8", 1},
                                                      {"i8", 1},
                                                      {"u16", 2},
                                                      {"i16", 2},
                                                      {"u32", 4},
                                                      {"i32", 4},
                                                      {"f32", 4},
                                                      {"bool", 1},
                                                      {"text", 0},
                                                      {"array", 0},
                                                      {"u64", 8},
                                                      {"i64", 8},
                                                      {"f64", 8}}};

}  // namespace

int64_t size_of(GgufValueType type) {
  const auto number = static_cast<size_t>(type);
  return number < kValueTypes.size() ? kValueTypes[number].bytes : 0;
}

std::string name_of(GgufValueType type) {
  const auto number = static_cast<size_t>(type);
  return number < kValueTypes.size() ? kValueTypes[number].name : fmt::format("type {}", number);
}

const GgufTypeTraits* find_gguf_type(uint32_t number) {
  const auto found = std::ranges::find(kGgufTypes, static_cast<GgufType>(number), &GgufTypeTraits::type);
  return found == kGgufTypes.end() ? nullptr : &*found;
}

const GgufTypeTraits& traits_of(GgufType type) {
  const GgufTypeTraits* found = find_gguf_type(static_cast<uint32_t>(type));
  require(found != nullptr, "a tensor type outside the table");
  return *found;
}

}  // namespace natrix
