// RunLog: what a run tells. Lines go to stderr and, with a time stamp, to RUN/natrix.log.
#pragma once

#include <memory>
#include <string>

namespace spdlog {
class logger;
}

namespace natrix {

class RunLog {
 public:
  /// path: the file, appended to; empty for none. quiet: nothing on stderr but warnings. Ranks but the first
  /// keep a log that says nothing anywhere: RunLog().
  RunLog();
  RunLog(const std::string& path, bool quiet);
  ~RunLog();

  void info(const std::string& line);
  void warn(const std::string& line);

 private:
  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace natrix
