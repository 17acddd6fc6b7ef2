// The report of one or several runs: one HTML page that needs nothing but itself.
//
// The page carries its style, its script and its data, and forbids itself any network. Its size is bounded
// whatever the length of the runs: curves are binned (chart_data.h). What a run has not measured (no
// evaluation yet, no experts) is left out; several runs are laid over each other.
#pragma once

#include <string>
#include <vector>

#include "core/report/metrics.h"

namespace natrix {

struct RunRecord {
  std::string name;    // for a legend
  std::string path;    // as given
  std::string config;  // text of its config.yaml; empty without one
  Metrics metrics;
};

/// Runs by their directories or metrics.jsonl files; names are the directories', or whole paths where those
/// are equal. InputError for a run that does not exist or has logged nothing.
std::vector<RunRecord> read_runs(const std::vector<std::string>& runs);

/// The page. All text of a run (its name, its configuration) is escaped.
std::string render_report(const std::vector<RunRecord>& runs);

/// report.html in a run's directory. InputError if there is no such run.
std::string report_path(const std::string& run);

/// Writes the page of these runs to `out`, or to report.html in the first run's directory where `out` is
/// empty; returns its path.
std::string write_report(const std::vector<std::string>& runs, std::string out = {});

}  // namespace natrix
