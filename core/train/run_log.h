// RunLog: what a run tells. Lines go to stderr and, with a time stamp, to RUN/natrix.log; those of a single
// rank, to a file of its own. A line that cannot be written is lost, and the run goes on: a terminal that was
// closed or a full disk behind the log ends no training.
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
  /// Nothing on stderr.
  static RunLog to_file(const std::string& path);
  ~RunLog();

  void info(const std::string& line);
  void warn(const std::string& line);

 private:
  void add_file(const std::string& path);

  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace natrix
