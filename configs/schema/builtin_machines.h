// The files of configs/devices, embedded at build time (cmake/NatrixEmbed.cmake), so that an installed
// program knows them without any file beside it.
#pragma once

#include <span>
#include <string_view>

namespace natrix {

struct BuiltinMachine {
  std::string_view name, text;  // "h100", and the whole of h100.yaml
};
std::span<const BuiltinMachine> builtin_machines();

}  // namespace natrix
