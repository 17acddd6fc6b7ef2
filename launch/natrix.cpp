// The program: parses the command line, runs the chosen command, and turns errors into exit statuses.
//   0 done; 1 failed (I/O, numerics, a lost rank, a stdout that takes no results); 2 bad usage, configuration
//   or input; 75 stopped by a signal, all saved
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
#include "launch/standard_streams.h"

namespace {

constexpr int kFailed = 1, kBadInput = 2;

void complain(std::string_view what) {
  natrix::say(fmt::format("natrix: {}\n", what));
}

/// What all ranks find wrong, rank 0 says once and ends the job; what another finds alone, it says after a
/// moment. Of those that wait in vain, each says for whom, and then leaves the others a moment to say it: the
/// rank that is named and says nothing is the lost one.
constexpr auto kMoment = std::chrono::milliseconds(1000);

int run(const natrix::Action& action, const natrix::MpiSession& session) {
  const auto complain = [&](std::string_view what) {
    const bool waited = what.starts_with(fmt::format("rank {}, ", session.rank()));
    if (session.rank() > 0 && !waited) std::this_thread::sleep_for(kMoment);
    const bool says_who = session.rank() == 0 || waited;
    ::complain(says_who ? std::string(what) : fmt::format("rank {}: {}", session.rank(), what));
    if (waited) std::this_thread::sleep_for(kMoment);
  };
  try {
    return action();
  } catch (const natrix::InputError& e) {
    complain(e.what());
    return kBadInput;
  } catch (const natrix::ConfigError& e) {
    complain(e.what());
    return kBadInput;
  } catch (const natrix::ContractError& e) {
    complain(fmt::format("internal error, please report it with the command you ran: {}", e.what()));
  } catch (const std::bad_alloc&) {
    complain("out of memory; a smaller --chunk, batch or model needs less");
  } catch (const std::system_error& e) {
    if (std::ferror(stdout) == 0) complain(e.what());  // of stdout, flush_results speaks
  } catch (const std::exception& e) {
    complain(e.what());
  }
  return kFailed;
}

/// What is there and unknown comes before what is missing, which may be only misspelt.
std::string usage_error(const CLI::App& app, const CLI::ParseError& e) {
  const auto commands = app.get_subcommands();
  const std::string command = commands.empty() ? "" : commands.front()->get_name() + " ";
  const std::vector<std::string> unknown = app.remaining(true);
  return fmt::format("{}; natrix {}--help shows what there is",
                     unknown.empty() ? e.what() : fmt::format("{} is not known", unknown.front()), command);
}

/// Commands that would do the same on every rank.
std::string refuse_ranks(const CLI::App& app, const natrix::MpiSession& session) {
  const std::string command = app.get_subcommands().front()->get_name();
  if (session.size() == 1 || command == "train" || command == "eval" || command == "generate") return "";
  return fmt::format("{} works in one process, but {} ranks were started; start it without mpirun", command,
                     session.size());
}

}  // namespace

int main(int argc, char** argv) {
  natrix::guard_standard_streams();
  std::signal(SIGXFSZ, SIG_IGN);  // a write beyond the limit then fails with a reason, instead of ending us
  CLI::App app("Natrix trains and runs Mamba-MoE models on very long sequences.", "natrix");
  app.require_subcommand(1);
  app.set_version_flag("--version", "natrix " NATRIX_VERSION);
  natrix::Action chosen;
  std::optional<natrix::MpiSession> session;
  try {
    session.emplace();
  } catch (const std::exception& e) {
    complain(e.what());
    return kFailed;
  }
  natrix::add_train(app, chosen, *session);
  natrix::add_eval(app, chosen, *session);
  natrix::add_generate(app, chosen, *session);
  natrix::add_score(app, chosen);
  natrix::add_gradients(app, chosen);
  natrix::add_inspect(app, chosen);
  natrix::add_verify(app, chosen);
  natrix::add_data(app, chosen);
  natrix::add_plan(app, chosen);
  natrix::add_plot(app, chosen);
  natrix::add_completion(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return natrix::flush_results(app.exit(e));  // --help, --version
    if (session->rank() == 0) complain(usage_error(app, e));
    return kBadInput;
  }
  if (const std::string why = refuse_ranks(app, *session); !why.empty()) {
    if (session->rank() == 0) complain(why);
    return kBadInput;
  }
  const int status = natrix::flush_results(run(chosen, *session));
  // A rank that failed does not wait for the others, who may wait for it.
  if (status != 0 && status != natrix::kExitStopped) session->abort(status);
  return status;
}
