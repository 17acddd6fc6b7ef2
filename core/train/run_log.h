// RunLog: the log of a run. Lines go to stderr and, with a time stamp, to RUN/natrix.log. Lines about a
// single rank go to that rank's own file. If a line cannot be written, it is lost and the run continues:
// neither a closed terminal nor a full disk may end a training run.
#pragma once

#include <memory>
#include <string>

namespace spdlog {
class logger;
}

namespace natrix {

class RunLog {
 public:
  /// A log that writes nothing, for all ranks but the first.
  RunLog();
  /// Appends to the file `path`; empty: no file. quiet: only warnings go to stderr.
  RunLog(const std::string& path, bool quiet);
  /// Writes only to the file, nothing to stderr.
  static RunLog to_file(const std::string& path);
  ~RunLog();

  void info(const std::string& line);
  void warn(const std::string& line);

 private:
  void add_file(const std::string& path);

  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace natrix
