// Any text as an experiment's YAML, and as overrides: refused with ConfigError, or what it resolves to can be
// printed and read back unchanged. Overrides stand below a line "%%", one a line.
#include "configs/schema/config_error.h"
#include "configs/schema/load.h"
#include "kernels/base/check.h"

namespace {

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace natrix;
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (text.find("extends") != std::string::npos) return 0;  // would read, and wait for, files of this machine
  const std::string kOverrides = "\n%%\n";
  const size_t split = text.find(kOverrides);
  std::vector<std::string> overrides;
  if (split != std::string::npos)
    overrides = lines_of(std::string_view(text).substr(split + kOverrides.size()));
  LoadedConfig loaded;
  try {
    loaded = parse_experiment(text.substr(0, split), "fuzz.yaml", overrides);
  } catch (const ConfigError&) {
    return 0;
  }
  const std::string printed = to_yaml(loaded, false);
  const LoadedConfig again = parse_experiment(printed, "fuzz.yaml");
  require(to_yaml(again, false) == printed && config_hash(again.config) == config_hash(loaded.config),
          "a configuration does not survive being printed");
  parse_experiment(to_yaml(loaded, true), "fuzz.yaml");
  return 0;
}
