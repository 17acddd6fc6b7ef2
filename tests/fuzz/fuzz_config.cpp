// Any text as a config.json: refused with InputError, or the model can be written and read back unchanged.
#include "core/hf/hf_formats.h"
#include "kernels/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace natrix;
  const std::string text(reinterpret_cast<const char*>(data), size);
  ModelConfig config;
  try {
    config = parse_hf_config(text, "config.json");
  } catch (const InputError&) {
    return 0;
  }
  const std::string written = hf_config_json(config, {}, text);
  const ModelConfig again = parse_hf_config(written, "config.json");
  require(again.stack() == config.stack() && hf_config_json(again, {}, text) == written,
          "a configuration does not survive being written");
  return 0;
}
