#include "launch/report/report.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>

#include "core/files/atomic_file.h"
#include "core/files/mapped_file.h"
#include "core/report/units.h"
#include "kernels/base/check.h"
#include "launch/report/chart_data.h"
#include "launch/report/page.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

std::string escaped(std::string_view text) {
  std::string html;
  for (const char c : text) {
    switch (c) {
      case '&': html += "&amp;"; break;
      case '<': html += "&lt;"; break;
      case '>': html += "&gt;"; break;
      case '"': html += "&quot;"; break;
      case '\'': html += "&#39;"; break;
      default: html += c;
    }
  }
  return html;
}

/// JSON for use inside a <script> element: it contains no "</script>" and only valid UTF-8.
std::string script_json(const nlohmann::json& value) {
  std::string text;
  for (const char c : value.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace)) {
    if (c == '<') {
      text += "\\u003c";
    } else {
      text += c;
    }
  }
  return text;
}

/// Replaces each {{name}} once. Inserted text is not searched again.
std::string fill(std::string_view html, const std::map<std::string_view, std::string>& parts) {
  std::string page;
  while (true) {
    const size_t open = html.find("{{"), close = html.find("}}", open);
    page += html.substr(0, open);
    if (open == html.npos) return page;
    page += parts.at(html.substr(open + 2, close - open - 2));
    html.remove_prefix(close + 2);
  }
}

double median(std::vector<double> values) {
  std::erase_if(values, [](double v) { return !std::isfinite(v); });
  if (values.empty()) return kNotMeasured;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string shown(double x, const char* format = "{:.4f}") {
  return std::isfinite(x) ? fmt::format(fmt::runtime(format), x) : "–";
}

/// 200,000; up to four digits stay as they are, as on the charts' axes.
std::string grouped(int64_t n) {
  return n < 10'000 ? fmt::format("{}", n) : fmt::format("{}", fmt::group_digits(n));
}

struct Figure {
  std::string label, value, remark;  // "held-out loss", "2.1043", "best 2.0998 at step 900"
};

void add_training_figures(const std::vector<StepMetrics>& steps, std::vector<Figure>& figures) {
  // The loss of one step is noise, so this is the mean over the last twentieth of the run.
  const size_t tail = std::max<size_t>(1, steps.size() / 20);
  double sum = 0, memory = 0;
  for (size_t i = steps.size() - tail; i < steps.size(); ++i) sum += steps[i].loss;
  std::vector<double> speeds;
  for (const auto& m : steps) {
    speeds.push_back(m.tokens_per_second);
    memory = std::max(memory, static_cast<double>(m.memory_bytes));
  }
  const StepMetrics& last = steps.back();
  const double speed = median(speeds);
  figures.push_back({"steps", grouped(last.step), ""});
  figures.push_back({"tokens", human_count(static_cast<double>(last.tokens)), ""});
  figures.push_back({"training loss",
                     std::isfinite(sum) ? shown(sum / static_cast<double>(tail)) : "not finite",
                     tail > 1 ? fmt::format("mean of the last {} logged", tail) : "last logged"});
  figures.push_back({"tokens/s", std::isfinite(speed) ? human_count(speed) : "–", "median"});
  figures.push_back({"memory", memory > 0 ? human_bytes(static_cast<int64_t>(memory)) : "–", "peak"});
  if (!last.expert_load.empty()) {
    figures.push_back(
        {"expert entropy", shown(mean_load_entropy(last.expert_load), "{:.3f}"), "last logged; 1 is even"});
  }
}

void add_eval_figures(const std::vector<EvalMetrics>& evals, std::vector<Figure>& figures) {
  const EvalMetrics* best = nullptr;
  for (const auto& e : evals) {
    if (std::isfinite(e.eval_loss) && (best == nullptr || e.eval_loss < best->eval_loss)) best = &e;
  }
  const EvalMetrics& last = evals.back();
  figures.push_back({"held-out loss", shown(last.eval_loss),
                     best != nullptr && best != &last
                         ? fmt::format("best {:.4f} at step {}", best->eval_loss, grouped(best->step))
                         : fmt::format("at step {}", grouped(last.step))});
  figures.push_back({"bits per byte", shown(last.eval_bits_per_byte), ""});
}

std::vector<Figure> final_figures(const Metrics& m) {
  std::vector<Figure> figures;
  if (!m.steps.empty()) add_training_figures(m.steps, figures);
  if (!m.evals.empty()) add_eval_figures(m.evals, figures);
  return figures;
}

constexpr size_t kColors = 8;  // colours that the page's style defines

/// A table with one row per run and one column per figure that any run has.
std::string figures_table(const std::vector<RunRecord>& runs) {
  std::vector<std::string> labels;
  std::vector<std::map<std::string, Figure>> rows;
  for (const auto& run : runs) {
    auto& row = rows.emplace_back();
    for (const Figure& f : final_figures(run.metrics)) {
      if (std::find(labels.begin(), labels.end(), f.label) == labels.end()) labels.push_back(f.label);
      row[f.label] = f;
    }
  }
  const bool named = runs.size() > 1;  // one run's name is the page's title
  std::string head = named ? "<th class=\"corner\">run</th>" : "", body;
  for (const auto& label : labels) head += fmt::format("<th scope=\"col\">{}</th>", label);
  for (size_t r = 0; r < runs.size(); ++r) {
    body += "<tr>";
    if (named) {
      body += fmt::format("<th scope=\"row\"><span class=\"swatch run-{}{}\"></span>{}</th>", r % kColors,
                          r >= kColors ? " dashed" : "", escaped(runs[r].name));
    }
    for (const auto& label : labels) {
      const auto found = rows[r].find(label);
      const Figure figure = found != rows[r].end() ? found->second : Figure{label, "–", ""};
      body += fmt::format("<td>{}<small>{}</small></td>", figure.value, figure.remark);
    }
    body += "</tr>\n";
  }
  return fmt::format("<table class=\"figures\"><thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody></table>", head,
                     body);
}

std::string config_blocks(const std::vector<RunRecord>& runs) {
  std::string html;
  for (const auto& run : runs) {
    if (run.config.empty()) continue;
    html += fmt::format("<details><summary>Configuration{}</summary><pre>{}</pre></details>\n",
                        runs.size() > 1 ? " of " + escaped(run.name) : "", escaped(run.config));
  }
  return html;
}

std::string title_of(const std::vector<RunRecord>& runs) {
  constexpr size_t kMostNames = 4;
  if (runs.size() > kMostNames) return fmt::format("{} runs", runs.size());
  std::string title;
  for (const auto& run : runs) title += (title.empty() ? "" : " · ") + run.name;
  return title;
}

std::string metrics_path(const std::string& run) {
  if (fs::is_regular_file(run)) return run;
  if (!fs::exists(run)) {
    throw InputError(fmt::format("no such run: {}; give a run directory or a metrics.jsonl file", run));
  }
  const std::string path = (fs::path(run) / "metrics.jsonl").string();
  if (!fs::exists(path)) {
    throw InputError(
        fmt::format("{} has no metrics.jsonl; expected the directory of a run that `natrix train` has begun "
                    "(its run.dir)",
                    run));
  }
  return path;
}

RunRecord read_run(const std::string& run) {
  const fs::path metrics = metrics_path(run);
  const fs::path dir = fs::weakly_canonical(metrics).parent_path();
  const bool usual = metrics.filename() == "metrics.jsonl";
  RunRecord record{.name = (usual ? dir.filename() : metrics.filename()).string(),
                   .path = run,
                   .metrics = read_metrics(metrics.string())};
  if (record.metrics.steps.empty() && record.metrics.evals.empty()) {
    throw InputError(fmt::format("{} holds no metrics yet; wait for the run's first logged step (log.every)",
                                 metrics.string()));
  }
  const std::string config = (dir / "config.yaml").string();
  if (usual && fs::is_regular_file(config)) record.config = MappedFile(config).text();
  return record;
}

}  // namespace

std::vector<RunRecord> read_runs(const std::vector<std::string>& runs) {
  std::vector<RunRecord> records;
  std::map<std::string, int> uses;
  for (const auto& run : runs) ++uses[records.emplace_back(read_run(run)).name];
  for (auto& record : records) {
    if (uses[record.name] > 1) record.name = record.path;
  }
  return records;
}

std::string render_report(const std::vector<RunRecord>& runs) {
  nlohmann::json data = nlohmann::json::array();
  for (const auto& run : runs) {
    data.push_back(chart_data(run.metrics));
    data.back()["name"] = run.name;
  }
  return fill(page::kHtml, {{"title", escaped(title_of(runs))},
                            {"style", std::string(page::kStyle)},
                            {"figures", figures_table(runs)},
                            {"configs", config_blocks(runs)},
                            {"data", script_json(data)},
                            {"script", std::string(page::kScript)}});
}

std::string report_path(const std::string& run) {
  return (fs::path(metrics_path(run)).parent_path() / "report.html").string();
}

std::string write_report(const std::vector<std::string>& runs, std::string out) {
  require(!runs.empty(), "write_report: no run");
  const std::string page = render_report(read_runs(runs));
  if (out.empty()) out = report_path(runs.front());
  write_file(out, page);
  return out;
}

}  // namespace natrix
