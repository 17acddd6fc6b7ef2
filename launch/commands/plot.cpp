// natrix plot: the report of one or several runs, one HTML page.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/atomic_file.h"
#include "launch/commands/commands.h"
#include "launch/commands/common.h"
#include "launch/report/report.h"

namespace natrix {
namespace {

struct PlotFlags {
  std::vector<std::string> runs;
  std::string out;
  bool json = false;
  bool quiet = false;
};

int plot(const PlotFlags& flags) {
  const std::string path = flags.out.empty() ? report_path(flags.runs.front()) : flags.out;
  const auto held = check_output("--out", path);
  write_report(flags.runs, path);
  if (flags.json) {
    print_json({{"report", path}});
  } else {
    fmt::print("{}\n", path);
  }
  return 0;
}

}  // namespace

void add_plot(CLI::App& app, Action& chosen) {
  CLI::App* c =
      add_command(app, "plot", "Curves of one or several runs as one HTML page that needs no network");
  auto flags = std::make_shared<PlotFlags>();
  as_path(c->add_option("RUN", flags->runs,
                        "Run directories or metrics.jsonl files; several are laid over each other"))
      ->required();
  as_path(c->add_option("-o,--out", flags->out,
                        "The page to write; report.html in the first run's directory unless given"));
  c->add_flag("--json", flags->json, "Print one JSON object to stdout and nothing else there");
  c->add_flag("-q,--quiet", flags->quiet, "No remarks; plot has none, scripts may pass it to every command");
  c->footer("Example: natrix plot runs/quickstart runs/wider --out comparison.html");
  c->callback([flags, &chosen] { chosen = [flags] { return plot(*flags); }; });
}

}  // namespace natrix
