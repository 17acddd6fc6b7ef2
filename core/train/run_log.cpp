#include "core/train/run_log.h"

#include <fmt/format.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "core/report/say.h"
#include "kernels/base/check.h"

namespace natrix {

RunLog::RunLog() : logger_(std::make_shared<spdlog::logger>("natrix")) {}

RunLog::RunLog(const std::string& path, bool quiet) {
  auto terminal = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  terminal->set_pattern("%v");
  terminal->set_level(quiet ? spdlog::level::warn : spdlog::level::info);
  logger_ = std::make_shared<spdlog::logger>("natrix", terminal);
  if (!path.empty()) add_file(path);
}

RunLog RunLog::to_file(const std::string& path) {
  RunLog log;
  log.add_file(path);
  return log;
}

void RunLog::add_file(const std::string& path) {
  try {
    auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
    file->set_pattern("%Y-%m-%d %H:%M:%S %v");
    logger_->sinks().push_back(file);
    // A log that cannot be written must not end the run. Say so once.
    logger_->set_error_handler([path, said = false](const std::string& why) mutable {
      if (!said) say(fmt::format("warning: {}: lines of the log are lost: {}\n", path, why));
      said = true;
    });
  } catch (const spdlog::spdlog_ex& e) {
    throw RunError(path + ": the log cannot be written: " + e.what());
  }
  logger_->flush_on(spdlog::level::info);
}

RunLog::~RunLog() = default;

void RunLog::info(const std::string& line) {
  logger_->info("{}", line);
}
void RunLog::warn(const std::string& line) {
  logger_->warn("warning: {}", line);
}

}  // namespace natrix
