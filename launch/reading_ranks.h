// ReadingRanks: the ranks of a command that reads a model without training it (eval, generate), and the model
// that each of them loads.
#pragma once

#include <string>
#include <vector>

#include "launch/agreement.h"
#include "launch/commands/common.h"
#include "launch/run_mesh.h"

namespace natrix {

class MpiSession;

/// What the ranks of a command read, which decides how they share it out where nobody says so.
enum class Reads {
  kOneText,  // cp: all of them
  kRows      // dp: all that cp leaves
};

class ReadingRanks {
 public:
  /// settings: parallel.key=value, as natrix train takes them. ConfigError or InputError for those that this
  /// command cannot follow. Collective. Everything is borrowed.
  ReadingRanks(const std::vector<std::string>& settings, Reads reads, const CommonFlags& flags,
               const std::string& model_dir, MpiSession& session);

  Context& context() { return ctx_; }
  Ranks ranks() { return mesh_->ranks(); }
  const MeshShape& shape() const { return mesh_->shape(); }
  bool first() { return ranks().world.rank() == 0; }
  /// The model with this rank's share of the experts.
  AssembledModel load_model();
  /// InputError on a rank with another program, model, flags of the machine,
  /// or something of `list`. Collective.
  void require_agreement(Model& model, std::vector<Agreed> list);

 private:
  const CommonFlags& flags_;
  std::string dir_;
  ExperimentConfig config_;  // its model and parallel are set
  Context ctx_;
  std::unique_ptr<RunMesh> mesh_;
};

/// The positional parallel.key=value arguments.
void add_ranks_argument(CLI::App& command, std::vector<std::string>& settings);

/// Takes the words of the form parallel.key=value out of `words`: an option that takes any number of files
/// takes the settings behind them, too.
std::vector<std::string> take_settings(std::vector<std::string>& words);

}  // namespace natrix
