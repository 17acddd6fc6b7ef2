// The subcommands of `natrix`. Each add_* declares its flags and help on the parser. If the user chose the
// command, it stores an action in `chosen`. launch/program.cpp runs the action and turns errors into exit
// statuses (InputError and ConfigError 2, all others 1).
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace natrix {

class LayerKinds;
class MpiSession;

/// What the program provides to its commands. All members are borrowed.
struct Program {
  MpiSession& session;      // the ranks that a launcher started
  const LayerKinds& kinds;  // the meaning of the letters of model.pattern
};

using Action = std::function<int()>;  // returns the exit status

/// program: borrowed, and used when the command runs.
void add_train(CLI::App& app, Action& chosen, const Program& program);
void add_eval(CLI::App& app, Action& chosen, const Program& program);
void add_generate(CLI::App& app, Action& chosen, const Program& program);
void add_score(CLI::App& app, Action& chosen, const Program& program);
void add_gradients(CLI::App& app, Action& chosen, const Program& program);
void add_convert(CLI::App& app, Action& chosen, const Program& program);
void add_inspect(CLI::App& app, Action& chosen, const Program& program);
void add_verify(CLI::App& app, Action& chosen, const Program& program);
void add_data(CLI::App& app, Action& chosen);
void add_plan(CLI::App& app, Action& chosen, const Program& program);
void add_plot(CLI::App& app, Action& chosen);
void add_tokenize(CLI::App& app, Action& chosen);
void add_detokenize(CLI::App& app, Action& chosen);
/// Also adds describe, for packagers. app must outlive both commands.
void add_completion(CLI::App& app, Action& chosen);

}  // namespace natrix
