// The report of one or several runs, as one HTML page without external resources.
//
// The page contains its style, its script and its data, and its content policy forbids network access. Its size
// is bounded for runs of any length, because curves are binned (chart_data.h). Charts without data (no
// evaluation yet, no experts) are left out. Several runs share each chart.
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

/// Reads runs, given as directories or metrics.jsonl files. A run's name is that of its directory, or the whole
/// path if two directories have the same name. InputError for a run that does not exist or has logged nothing.
std::vector<RunRecord> read_runs(const std::vector<std::string>& runs);

/// Returns the page. All text from a run (its name, its configuration) is escaped.
std::string render_report(const std::vector<RunRecord>& runs);

/// The path of report.html in a run's directory. InputError if there is no such run.
std::string report_path(const std::string& run);

/// Writes the page of these runs to `out`, or to report.html in the first run's directory if `out` is empty.
/// Returns the path.
std::string write_report(const std::vector<std::string>& runs, std::string out = {});

}  // namespace natrix
