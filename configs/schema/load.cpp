#include "configs/schema/load.h"

#include <filesystem>
#include <vector>

#include "configs/schema/key_reader.h"
#include "configs/schema/validate.h"

namespace natrix {
namespace {

/// A configuration and the reader that fills it.
class Loader {
 public:
  Loader()
      : keys_({.needs = "an experiment needs at least model.pattern, model.d_model and data.train",
               .listed = "docs/config.md lists them"},
              fields_of(loaded_.config), loaded_.origin) {}
  KeyReader& keys() { return keys_; }

  LoadedConfig finish(const std::string& path) {
    keys_.raise_problems();
    if (loaded_.config.run.dir.empty())
      loaded_.config.run.dir = "runs/" + std::filesystem::path(path).stem().string();
    fit_defaults(loaded_);
    for (const Contradiction& c : contradictions(loaded_)) {
      keys_.report(loaded_.was_set(c.key) ? loaded_.origin_of(c.key) : path, c.key + ": " + c.what);
    }
    keys_.raise_problems();
    return {.config = loaded_.config, .origin = loaded_.origin};
  }

 private:
  LoadedConfig loaded_;
  KeyReader keys_;  // points into loaded_
};

}  // namespace

LoadedConfig load_experiment(const std::string& path, std::span<const std::string> overrides) {
  Loader loader;
  loader.keys().add_file(path);
  for (const std::string& o : overrides) loader.keys().add_override(o);
  return loader.finish(path);
}

LoadedConfig parse_experiment(std::string_view text, const std::string& origin,
                              std::span<const std::string> overrides) {
  Loader loader;
  loader.keys().add_text(text, origin);
  for (const std::string& o : overrides) loader.keys().add_override(o);
  return loader.finish(origin);
}

}  // namespace natrix
