// natrix inspect: prints sizes and settings of a model, a configuration, a run or a saved state.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <fmt/format.h>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/gguf/gguf_file.h"
#include "core/hf/hf_checkpoint.h"
#include "core/hf/hf_formats.h"
#include "core/io/checkpoint_dir.h"
#include "core/io/state_file.h"
#include "core/report/units.h"
#include "launch/commands/commands.h"
#include "launch/commands/common.h"
#include "launch/config_source.h"
#include "launch/experiment.h"
#include "launch/training_memory.h"
#include "launch/warning.h"

namespace natrix {
namespace {

struct InspectFlags {
  std::string what;
  std::vector<std::string> overrides;
  bool json = false, quiet = false, tensors = false;
};

nlohmann::ordered_json model_facts(const ModelConfig& c, const LayerKinds& kinds) {
  AssembledModel model = describe_model(c, nullptr, kinds);
  const ParameterCount n = model->count_parameters();
  return {{"class", hf_family(c).name},
          {"stack", c.stack()},
          {"d_model", c.d_model},
          {"vocab_size", c.vocab_size.value_or(0)},
          {"parameters", n.total},
          {"active_parameters", n.active},
          {"weight_bytes_fp32", 4 * n.total},
          {"state_bytes_per_sequence", bytes_of(model->carries(), 1)},
          {"key_value_bytes_per_token", bytes_per_token(model->carries())},
          {"activation_bytes_per_token", activation_bytes_per_token(c, kinds)}};
}

nlohmann::ordered_json experiment_facts(const Experiment& e) {
  const RankMemory m = training_memory(e);
  nlohmann::ordered_json j = model_facts(e.config.model, *e.kinds);
  j["training_memory"] = {{"weights", m.weights + m.rounded}, {"gradients", m.gradients},
                          {"optimizer", m.optimizer},         {"activations", m.activations},
                          {"boundary_states", m.boundaries},  {"carried_states", m.carried},
                          {"keys_and_values", m.keys_values}, {"total", m.total()}};
  return j;
}

/// Prints one "key: value" per line. Large numbers are followed by a rounded form with a unit.
void print_facts(const nlohmann::ordered_json& facts, const std::string& indent = "") {
  for (const auto& [key, value] : facts.items()) {
    if (value.is_object()) {
      fmt::print("{}{}:\n", indent, key);
      print_facts(value, indent + "  ");
    } else if (value.is_number_integer() && value.get<int64_t>() >= 10000) {
      const auto n = value.get<int64_t>();
      const bool bytes =
          key.find("parameters") == std::string::npos && key.find("tokens") == std::string::npos;
      fmt::print("{}{}: {} ({})\n", indent, key, n,
                 bytes ? human_bytes(n) : human_count(static_cast<double>(n)));
    } else {
      fmt::print("{}{}: {}\n", indent, key, value.is_string() ? value.get<std::string>() : value.dump());
    }
  }
}

nlohmann::ordered_json tensors_of(const ModelConfig& config, const LayerKinds& kinds) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  describe_model(config, nullptr, kinds)->visit([&](Param& p) {
    for (const ParamPart& part : p.parts) {
      std::vector<int64_t> shape;
      for (int i = 0; i < part.shape.rank(); ++i) shape.push_back(part.shape[i]);
      list.push_back({{"name", part.name}, {"shape", shape}, {"decays", p.decays}});
    }
  });
  return list;
}

void print_tensors(const nlohmann::ordered_json& list) {
  fmt::print("tensors:\n");
  for (const auto& tensor : list) {
    fmt::print("  {:<64} [{}]{}\n", tensor["name"].get<std::string>(),
               fmt::join(tensor["shape"].get<std::vector<int64_t>>(), ", "),
               tensor["decays"].get<bool>() ? "  decays" : "");
  }
}

bool is_state_file(const std::string& path) {
  return std::filesystem::is_regular_file(path) && !path.ends_with(".yaml") && !path.ends_with(".yml") &&
         !is_gguf_path(path);
}

/// InputError if an override or flag has no effect on this kind of WHAT.
void refuse_what_would_be_ignored(const InspectFlags& flags) {
  const bool state = is_state_file(flags.what);
  const bool gguf = is_gguf_path(flags.what);
  const bool configuration = !state && !gguf && std::filesystem::is_regular_file(flags.what);
  if (!flags.overrides.empty() && !configuration) {
    const std::string of_run = flags.what + "/config.yaml";
    throw InputError(fmt::format(
        "{}: overrides need a configuration (a YAML file), but {} is {}{}", flags.overrides.front(),
        flags.what,
        state  ? "a state file"
        : gguf ? "a GGUF file"
               : "a directory",
        std::filesystem::is_regular_file(of_run) ? fmt::format("; {} is its configuration", of_run) : ""));
  }
  if (flags.tensors && state)
    throw InputError(
        fmt::format("--tensors: {} is a state file; name its model to list tensors", flags.what));
}

int inspect(const InspectFlags& flags, const LayerKinds& kinds) {
  if (std::filesystem::exists(flags.what)) refuse_what_would_be_ignored(flags);
  nlohmann::ordered_json facts;
  std::optional<ModelConfig> model;
  std::string resolved;
  if (is_state_file(flags.what)) {
    const StateInfo s = read_state_info(flags.what);
    facts = {{"state", flags.what},
             {"tokens", s.tokens},
             {"model", s.model},
             {"about", s.about},
             {"bytes", std::filesystem::file_size(flags.what)}};
  } else if (std::filesystem::is_regular_file(flags.what) && !is_gguf_path(flags.what)) {
    const Experiment e =
        resolve_experiment(load_config(flags.what, flags.overrides).loaded, 1, print_warning, kinds);
    facts = experiment_facts(e);
    facts["run_dir"] = e.config.run.dir;
    model = e.config.model;
    resolved = to_yaml(e.loaded, true);
  } else {
    const std::string dir = resolve_model_dir(flags.what);
    model = read_checkpoint_model(dir, print_warning, kinds);
    facts = model_facts(*model, kinds);
    facts[is_gguf_path(dir) ? "file" : "directory"] = dir;
  }
  const bool tensors = model && flags.tensors;
  if (flags.json) {
    if (tensors) facts["tensors"] = tensors_of(*model, kinds);
    print_json(facts);
    return 0;
  }
  print_facts(facts);
  if (tensors) print_tensors(tensors_of(*model, kinds));
  if (!resolved.empty()) fmt::print("\nresolved configuration:\n{}", resolved);
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Action& chosen, const Program& program) {
  CLI::App* c = add_command(
      app, "inspect", "Sizes, shapes, memory and resolved settings of a model, configuration, run or state");
  auto f = std::make_shared<InspectFlags>();
  as_path(c->add_option("WHAT", f->what,
                        "A model or run directory, a GGUF file, a YAML configuration, or a state file"))
      ->required();
  c->add_option("OVERRIDES", f->overrides, "With a configuration: section.key=value");
  c->add_flag("--tensors", f->tensors, "List every tensor");
  c->add_flag("--json", f->json, "Print one JSON object to stdout and nothing else there");
  c->add_flag("-q,--quiet", f->quiet, "No remarks; inspect has none, scripts may pass it to every command");
  c->footer("Example: natrix inspect configs/quickstart.yaml --tensors");
  c->callback([f, &chosen, &program] { chosen = [f, &program] { return inspect(*f, program.kinds); }; });
}

}  // namespace natrix
