#include "core/report/metrics.h"

#include <cerrno>
#include <cmath>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <system_error>
#include <unistd.h>

#include "core/files/atomic_file.h"
#include "core/files/json.h"
#include "core/files/mapped_file.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

using nlohmann::json;
using OrderedJson = nlohmann::ordered_json;  // "step" first, as a person expects

constexpr int64_t kMostSteps = std::numeric_limits<int64_t>::max();

const char* spelling(double x) {
  return std::isnan(x) ? "nan" : x > 0 ? "inf" : "-inf";
}

/// Builds a line. Numbers that JSON cannot represent become null and are spelt out at the line's end.
class LineWriter {
 public:
  template <class T>
  void add(const char* key, const T& value) {
    line_[key] = value;
  }
  void add(const char* key, double value) {
    line_[key] = value;  // prints digits that read back as the same double, and null for what is not finite
    if (!std::isfinite(value)) nonfinite_[key] = spelling(value);
  }
  std::string text() {
    if (!nonfinite_.empty()) line_["nonfinite"] = nonfinite_;
    return line_.dump();
  }

 private:
  OrderedJson line_, nonfinite_;
};

/// Takes members of a parsed line.
class LineReader {
 public:
  LineReader(const json& line, const std::string& origin) : line_(line), object_(line, origin) {}

  int64_t integer(const char* key) const { return object_.integer(key, 0, kMostSteps); }
  int64_t integer(const char* key, int64_t fallback) const {
    return object_.integer(key, 0, kMostSteps, fallback);
  }
  bool has(const char* key) const { return line_.contains(key); }

  double number(const char* key, double fallback = kNotMeasured) const {
    if (!has(key)) return fallback;
    const json& value = line_[key];
    if (value.is_number()) return value.get<double>();
    if (!value.is_null()) object_.fail(key, "a number or null");
    const std::string kind = has("nonfinite") ? object_.object("nonfinite").text(key, "nan") : "nan";
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    return kind == "inf" ? kInfinity : kind == "-inf" ? -kInfinity : kNotMeasured;
  }

  std::vector<std::vector<double>> table(const char* key) const {
    std::vector<std::vector<double>> rows;
    if (!has(key)) return rows;
    const char* expected = "an array of arrays of numbers";
    if (!line_[key].is_array()) object_.fail(key, expected);
    for (const json& row : line_[key]) {
      if (!row.is_array()) object_.fail(key, expected);
      auto& numbers = rows.emplace_back();
      for (const json& x : row) {
        if (!x.is_number() && !x.is_null()) object_.fail(key, expected);
        numbers.push_back(x.is_null() ? kNotMeasured : x.get<double>());
      }
    }
    return rows;
  }

  /// The members of an array of objects.
  std::vector<LineReader> objects(const char* key, const std::string& origin) const {
    std::vector<LineReader> items;
    if (!has(key)) return items;
    if (!line_[key].is_array()) object_.fail(key, "an array of objects");
    for (const json& item : line_[key]) items.emplace_back(item, origin);
    return items;
  }

 private:
  const json& line_;
  JsonObject object_;
};

StepMetrics step_from(const LineReader& line) {
  return {.step = line.integer("step"),
          .tokens = line.integer("tokens", 0),
          .loss = line.number("loss"),
          .grad_norm = line.number("grad_norm"),
          .lr = line.number("lr"),
          .aux_loss = line.number("aux_loss", 0),
          .z_loss = line.number("z_loss", 0),
          .tokens_per_second = line.number("tokens_per_second"),
          .seconds = line.number("seconds"),
          .memory_bytes = line.integer("memory_bytes", 0),
          .expert_load = line.table("expert_load")};
}

EvalMetrics eval_from(const LineReader& line, const std::string& origin) {
  EvalMetrics m{.step = line.integer("step"),
                .eval_loss = line.number("eval_loss"),
                .eval_bits_per_byte = line.number("eval_bits_per_byte")};
  for (const LineReader& bucket : line.objects("eval_loss_by_position", origin)) {
    m.loss_by_position.push_back({.from = bucket.integer("from"), .loss = bucket.number("loss")});
  }
  return m;
}

struct Line {
  std::string_view text;  // without the newline
  json value;
  std::string origin;  // "FILE line 12"
};

/// Calls `visit` for every line but a half-written last one. A prefix of an object is never JSON, so a last
/// line without its newline is either whole or recognised as torn.
void for_each_line(std::string_view text, const std::string& path,
                   const std::function<void(const Line&)>& visit) {
  int64_t number = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    const std::string origin = fmt::format("{} line {}", path, ++number);
    if (end == std::string_view::npos && !json::accept(line)) return;
    json value = parse_json(line, origin);
    const JsonObject object(value, origin);
    object.integer("step", 0, kMostSteps);
    if (!object.has("loss") && !object.has("eval_loss")) {
      throw InputError(
          fmt::format("{}: {} is no line of metrics; expected an object with \"step\" and either "
                      "\"loss\" or \"eval_loss\"",
                      origin, excerpt(line)));
    }
    visit({line, std::move(value), origin});
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

/// Replaces the file by its lines up to `last_step`; leaves a file alone that needs no change.
void drop_lines_beyond(const std::string& path, int64_t last_step) {
  std::string kept;
  {
    const MappedFile file(path);
    for_each_line(file.text(), path, [&](const Line& line) {
      if (line.value["step"].get<int64_t>() <= last_step) kept.append(line.text) += '\n';
    });
    if (kept == file.text()) return;
  }
  write_file(path, kept);
}

}  // namespace

std::string to_json_line(const StepMetrics& m) {
  LineWriter line;
  line.add("step", m.step);
  line.add("tokens", m.tokens);
  line.add("loss", m.loss);
  line.add("grad_norm", m.grad_norm);
  line.add("lr", m.lr);
  line.add("aux_loss", m.aux_loss);
  line.add("z_loss", m.z_loss);
  line.add("tokens_per_second", m.tokens_per_second);
  line.add("seconds", m.seconds);
  line.add("memory_bytes", m.memory_bytes);
  line.add("expert_load", m.expert_load);
  return line.text();
}

std::string to_json_line(const EvalMetrics& m) {
  LineWriter line;
  line.add("step", m.step);
  line.add("eval_loss", m.eval_loss);
  line.add("eval_bits_per_byte", m.eval_bits_per_byte);
  if (!m.loss_by_position.empty()) {
    OrderedJson buckets = OrderedJson::array();
    for (const auto& b : m.loss_by_position) buckets.push_back({{"from", b.from}, {"loss", b.loss}});
    line.add("eval_loss_by_position", buckets);
  }
  return line.text();
}

MetricsLog::MetricsLog(std::string path, int64_t last_step) : path_(std::move(path)) {
  if (std::filesystem::exists(path_)) drop_lines_beyond(path_, last_step);
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd_ < 0) {
    throw RunError(
        fmt::format("cannot open {} for writing: {}", path_, std::generic_category().message(errno)));
  }
}

MetricsLog::~MetricsLog() {
  ::close(fd_);
}

void MetricsLog::write_line(std::string line) {
  line += '\n';
  for (std::string_view rest = line; !rest.empty();) {
    const ssize_t written = ::write(fd_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      throw RunError(fmt::format("cannot write {}: {}", path_, std::generic_category().message(errno)));
    }
    rest.remove_prefix(static_cast<size_t>(written));
  }
}

void MetricsLog::sync() {
  sync_file(path_);
}

Metrics read_metrics(const std::string& path) {
  const MappedFile file(path);
  Metrics metrics;
  for_each_line(file.text(), path, [&](const Line& line) {
    const LineReader reader(line.value, line.origin);
    if (reader.has("eval_loss")) {
      metrics.evals.push_back(eval_from(reader, line.origin));
    } else {
      metrics.steps.push_back(step_from(reader));
    }
  });
  return metrics;
}

double load_entropy(const std::vector<double>& shares) {
  double entropy = 0, total = 0;
  for (const double share : shares) {
    total += share;
    if (share != 0) entropy -= share * std::log(share);
  }
  if (!(total > 0)) return kNotMeasured;  // no expert was chosen, or a share is NaN
  if (shares.size() == 1) return 1;
  return entropy / std::log(static_cast<double>(shares.size()));
}

double mean_load_entropy(const std::vector<std::vector<double>>& expert_load) {
  double sum = 0;
  for (const auto& shares : expert_load) sum += load_entropy(shares);
  return sum / static_cast<double>(expert_load.size());
}

}  // namespace natrix
