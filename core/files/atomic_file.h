// AtomicFile: a file that appears under its path complete or not at all.
//
// The bytes go to an unnamed file (O_TMPFILE) in the path's directory. commit() syncs it, gives it a
// temporary name beside the path, renames it over the path and syncs the directory. If two processes write
// one path, each writes its own file, and the last to commit wins. A killed process leaves nothing. Some file
// systems have no unnamed files (NFS, many FUSE file systems). There the file is named NAME.xxxxxxxx.tmp (8
// random hex digits) from the start. It is always a new file, and is removed on failure, but stays if the
// process is killed.
//
// Only a regular file is ever replaced. The new file gets its permissions, and its owner and group if this
// process may set them. Other hard links keep the old content. Symbolic links are followed and stay.
//
// Pipes, character devices and open descriptors (/dev/stdout, /dev/fd/N) are written into. The bytes stay in
// an unnamed file in the temporary directory (TMPDIR, else /tmp) until commit() copies them, so the reader
// gets all of them in order or none. The stream is opened at the start. If a pipe has no reader, this says so
// on stderr, waits ten seconds and then fails. Directories, sockets and block devices are refused.
// output_path.h has the whole list.
//
// Any failure is a RunError that names the path and the reason: no space, a read-only or failing disk, a
// reader that goes away. An earlier file under the path stays as it was. If another path would help, the
// error is an OutputPathError.
//
// A write past RLIMIT_FSIZE raises SIGXFSZ. A program must ignore that signal to get the RunError instead.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/files/output_path.h"

namespace natrix {

class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::string& path() const { return path_; }
  /// Allocates the disk space of the whole file, so that a full disk is found before hours of work.
  void reserve(int64_t bytes);
  void write_at(int64_t offset, const void* data, int64_t bytes);
  void commit();

 private:
  void open_beside();
  void open_spool();
  void open_named();
  void replace();
  void send();
  void keep_attributes();
  bool link_beside();
  [[noreturn]] void fail(int error, const std::string& why = {});
  void discard() noexcept;

  std::string path_;
  OutputPath to_;
  std::string aside_;   // the temporary name beside the path, if there is one
  std::string folder_;  // directory of the unnamed file that holds a stream's bytes until commit()
  int directory_ = -1, fd_ = -1;
  int out_ = -1;  // the stream
};

/// Checks before the work starts that `path`, the value of `flag`, can be written. It leaves nothing behind.
/// Keep the result until everything is written: when the last writer of a pipe closes it, the reader takes
/// that for the end. InputError if the path cannot be written; RunError if the machine fails.
[[nodiscard]] std::unique_ptr<const AtomicFile> check_output(const std::string& flag,
                                                             const std::string& path);

/// Writes a small file through an AtomicFile.
void write_file(const std::string& path, std::string_view text);

/// Makes the names in a directory (files created, renamed, removed) survive a power failure.
void sync_directory(const std::string& path);
/// Makes a file's bytes survive a power failure.
void sync_file(const std::string& path);

}  // namespace natrix
