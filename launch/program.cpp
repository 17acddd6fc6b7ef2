#include "launch/program.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <optional>
#include <system_error>
#include <thread>

#include "configs/schema/config_error.h"
#include "core/report/say.h"
#include "core/train/stop_signal.h"
#include "distributed/mpi_communicator.h"
#include "kernels/base/check.h"
#include "launch/commands/commands.h"
#include "launch/ignored_hangup.h"
#include "launch/standard_streams.h"

namespace natrix {
namespace {

constexpr int kFailed = 1, kBadInput = 2;

void complain(std::string_view what) {
  say(fmt::format("natrix: {}\n", what));
}

/// How long a rank lets others print first. An error that all ranks meet is printed by rank 0 alone, which then
/// ends the job; the other ranks sleep before they print, so they print only errors that rank 0 does not have.
/// A rank that timed out names the rank it waited for, then sleeps before it ends the job, so that the others
/// can do the same. A rank that is named and prints nothing is the lost one.
constexpr auto kMoment = std::chrono::milliseconds(1000);

int run(const Action& action, const MpiSession& session) {
  const auto complain = [&](std::string_view what) {
    const bool waited = what.starts_with(fmt::format("rank {}, ", session.rank()));
    if (session.rank() > 0 && !waited) std::this_thread::sleep_for(kMoment);
    const bool says_who = session.rank() == 0 || waited;
    natrix::complain(says_who ? std::string(what) : fmt::format("rank {}: {}", session.rank(), what));
    if (waited) std::this_thread::sleep_for(kMoment);
  };
  try {
    return action();
  } catch (const InputError& e) {
    complain(e.what());
    return kBadInput;
  } catch (const ConfigError& e) {
    complain(e.what());
    return kBadInput;
  } catch (const ContractError& e) {
    complain(fmt::format("internal error, please report it with the command you ran: {}", e.what()));
  } catch (const std::bad_alloc&) {
    complain("out of memory; a smaller --chunk, batch or model needs less");
  } catch (const std::system_error& e) {
    if (std::ferror(stdout) == 0) complain(e.what());  // flush_results reports errors of stdout
  } catch (const std::exception& e) {
    complain(e.what());
  }
  return kFailed;
}

/// Reports an unknown word before a missing one, because it may be a misspelling of the missing one.
std::string usage_error(const CLI::App& app, const CLI::ParseError& e) {
  const auto commands = app.get_subcommands();
  const std::string command = commands.empty() ? "" : commands.front()->get_name() + " ";
  const std::vector<std::string> unknown = app.remaining(true);
  return fmt::format("{}; natrix {}--help shows what there is",
                     unknown.empty() ? e.what() : fmt::format("{} is not known", unknown.front()), command);
}

/// Why this command cannot run on several ranks; empty if it can.
std::string refuse_ranks(const CLI::App& app, const MpiSession& session) {
  const std::string command = app.get_subcommands().front()->get_name();
  if (session.size() == 1 || command == "train" || command == "eval" || command == "generate") return "";
  return fmt::format("{} works in one process, but {} ranks were started; start it without mpirun", command,
                     session.size());
}

}  // namespace

int run_program(int argc, char** argv, const LayerKinds& kinds) {
  guard_standard_streams();
  std::signal(SIGXFSZ, SIG_IGN);  // a write beyond the file size limit returns an error
  CLI::App app("Natrix trains and runs Mamba-MoE models on very long sequences.", "natrix");
  app.require_subcommand(1);
  app.set_version_flag("--version", "natrix " NATRIX_VERSION);
  Action chosen;
  std::optional<MpiSession> session;
  try {
    session.emplace();
  } catch (const std::exception& e) {
    complain(e.what());
    return kFailed;
  }
  restore_ignored_hangup();
  const Program program{.session = *session, .kinds = kinds};
  add_train(app, chosen, program);
  add_eval(app, chosen, program);
  add_generate(app, chosen, program);
  add_score(app, chosen, program);
  add_gradients(app, chosen, program);
  add_convert(app, chosen, program);
  add_inspect(app, chosen, program);
  add_verify(app, chosen, program);
  add_data(app, chosen);
  add_plan(app, chosen, program);
  add_tokenize(app, chosen);
  add_detokenize(app, chosen);
  add_plot(app, chosen);
  add_completion(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return flush_results(app.exit(e));  // --help, --version
    if (session->rank() == 0) complain(usage_error(app, e));
    return kBadInput;
  }
  if (const std::string why = refuse_ranks(app, *session); !why.empty()) {
    if (session->rank() == 0) complain(why);
    return kBadInput;
  }
  const int status = flush_results(run(chosen, *session));
  // A failed rank does not wait for the others, because they may be waiting for it.
  if (status != 0 && status != kExitStopped) session->abort(status);
  return status;
}

}  // namespace natrix
