#include "launch/reading_ranks.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>

#include "configs/schema/key_reader.h"
#include "core/hf/hf_checkpoint.h"
#include "distributed/mpi_communicator.h"
#include "launch/commands/commands.h"
#include "launch/warning.h"

namespace natrix {
namespace {

bool is_setting(const std::string& word) {
  return word.starts_with("parallel.") && word.find('=') != std::string::npos;
}

ParallelConfig parse_parallel(const std::vector<std::string>& settings, Reads reads, int ranks) {
  ExperimentConfig config;
  std::vector<Field> fields = fields_of(config);
  std::erase_if(fields, [](const Field& f) {  // reading has no gradients and no optimizer
    return !f.key.starts_with("parallel.") || f.key == "parallel.zero" || f.key == "parallel.bucket";
  });
  std::map<std::string, std::string> origin;
  KeyReader keys(
      {.needs = "", .listed = "only parallel.dp, cp, ep, cp_link, timeout and share_gpus can be set here"},
      std::move(fields), origin);
  for (const std::string& s : settings) keys.add_override(s);
  keys.raise_problems();
  ParallelConfig& p = config.parallel;
  if (reads == Reads::kOneText && !origin.contains("parallel.cp") && !p.dp) p.cp = ranks;
  return p;
}

}  // namespace

void add_ranks_argument(CLI::App& command, std::vector<std::string>& settings) {
  command.add_option("SETTINGS", settings,
                     "With several ranks: parallel.key=value, as natrix train takes them (docs/ranks.md)");
}

std::vector<std::string> take_settings(std::vector<std::string>& words) {
  std::vector<std::string> settings;
  std::copy_if(words.begin(), words.end(), std::back_inserter(settings), is_setting);
  std::erase_if(words, is_setting);
  return settings;
}

ReadingRanks::ReadingRanks(const std::vector<std::string>& settings, Reads reads, const CommonFlags& flags,
                           const std::string& model_dir, const Program& program)
    : flags_(flags), kinds_(program.kinds), dir_(model_dir), ctx_(flags.context()) {
  MpiSession& session = program.session;
  config_.parallel = parse_parallel(settings, reads, session.size());
  const MeshShape shape = settle_mesh(config_.parallel, session.size());
  const auto warn = [&](const std::string& what) {
    if (session.rank() == 0) print_warning(what);
  };
  config_.model = read_checkpoint_model(dir_, warn, kinds_);
  check_mesh(needs_of(*describe_model(config_.model, nullptr, kinds_)), shape);
  if (reads == Reads::kOneText && shape.dp > 1) {
    throw InputError(
        fmt::format("parallel.dp: one text is read by the ranks of cp together, and dp = {} would leave some "
                    "without work; "
                    "set parallel.cp={}, or leave both out",
                    shape.dp, session.size()));
  }
  mesh_ = std::make_unique<RunMesh>(config_, ctx_, session.world());
}

AssembledModel ReadingRanks::load_model() {
  return natrix::load_model(dir_, config_.model, flags_.element(), false, ctx_.memory(), mesh_->exchange(),
                            kinds_);
}

void ReadingRanks::require_agreement(Model& model, std::vector<Agreed> list) {
  if (ranks().world.size() == 1) return;
  const ParallelConfig& p = config_.parallel;
  const MeshShape& s = mesh_->shape();
  list.push_back({"a flag of the machine or a parallel.* setting",
                  fmt::format("{} {} {} {} {} {} {} {}", s.dp, s.cp, s.ep, static_cast<int>(p.cp_link),
                              flags_.chunk, flags_.backend, flags_.dtype, flags_.weights),
                  "start all ranks with the same flags"});
  // With expert parallelism, ranks hold different weights.
  if (s.ep == 1)
    list.push_back({"the model", hash_weights(model.params()), "give all hosts the same checkpoint"});
  natrix::require_agreement(list, ranks().world, ctx_);
}

}  // namespace natrix
