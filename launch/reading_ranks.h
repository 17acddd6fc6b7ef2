// ReadingRanks: the ranks of a command that runs a model without training it (eval, generate). It loads each
// rank's part of the model.
#pragma once

#include <string>
#include <vector>

#include "launch/agreement.h"
#include "launch/commands/common.h"
#include "launch/run_mesh.h"

namespace natrix {

class LayerKinds;
struct Program;

/// What a command reads. This decides the default mesh.
enum class Reads {
  kOneText,  // cp has all ranks
  kRows      // dp has all ranks that cp leaves
};

class ReadingRanks {
 public:
  /// settings: parallel.key=value, as for natrix train. ConfigError or InputError for settings that this
  /// command cannot follow. Collective. All references are borrowed.
  ReadingRanks(const std::vector<std::string>& settings, Reads reads, const CommonFlags& flags,
               const std::string& model_dir, const Program& program);

  Context& context() { return ctx_; }
  Ranks ranks() { return mesh_->ranks(); }
  const MeshShape& shape() const { return mesh_->shape(); }
  bool first() { return ranks().world.rank() == 0; }
  /// Loads the model with the experts that this rank owns.
  AssembledModel load_model();
  /// InputError on a rank whose program, model, machine flags or items of `list` differ from
  /// rank 0's. Collective.
  void require_agreement(Model& model, std::vector<Agreed> list);

 private:
  const CommonFlags& flags_;
  const LayerKinds& kinds_;
  std::string dir_;
  ExperimentConfig config_;  // its model and parallel are set
  Context ctx_;
  std::unique_ptr<RunMesh> mesh_;
};

/// The positional parallel.key=value arguments.
void add_ranks_argument(CLI::App& command, std::vector<std::string>& settings);

/// Removes the words of the form parallel.key=value from `words` and returns them. An option that takes any
/// number of files also takes the settings after them.
std::vector<std::string> take_settings(std::vector<std::string>& words);

}  // namespace natrix
