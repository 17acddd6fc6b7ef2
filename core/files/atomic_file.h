// AtomicFile: a file that appears under its path complete or not at all.
//
// The bytes go to a file without a name (O_TMPFILE) in the directory of the path; commit() syncs it, gives it
// a name of its own beside the path, renames that over the path and syncs the directory. Of two processes
// that write one path each writes a file of its own, and the last to commit wins. A process that is killed
// leaves nothing. Where the file system has no files without names (NFS, many of FUSE), the file is called
// NAME.xxxxxxxx.tmp (8 random hex digits) from the start: it is always made anew, is removed on failure, and
// stays where the process is killed.
//
// Only a regular file is ever replaced. The new one has its permissions, and its owner and group where this
// process may set them; other hard links keep the old content. Symbolic links are followed and stay. A pipe,
// a character device or an open descriptor (/dev/stdout, /dev/fd/N) is written into: the bytes are kept in a
// file without a name in the temporary directory (TMPDIR, else /tmp) until commit() copies them, so that the
// reader sees all of them in order or none. It is open from the start: a pipe without a reader is waited for,
// which is said on stderr, for ten seconds, then refused. A directory, a socket and a block device are
// refused. output_path.h has the whole list.
//
// Any failure (no space, a read-only or failing disk, a reader that goes away) is a RunError naming the path
// and the reason; an earlier file under the path stays as it was. Where another path would help, it is an
// OutputPathError.
//
// A write past RLIMIT_FSIZE raises SIGXFSZ before it fails: programs ignore that signal to get the RunError.
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
  /// Takes the disk space of the whole file now, so that a full disk
  /// shows before hours of work and not after.
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
  std::string aside_;   // the name beside the path while there is one
  std::string folder_;  // where the bytes for a stream are kept until commit() copies them
  int directory_ = -1, fd_ = -1;
  int out_ = -1;  // the stream
};

/// Proves before the work starts that `path`, the value of `flag`, can be written. It leaves nothing behind,
/// however the work ends. Hold the result until all is written: the reader of a pipe takes a writer that
/// leaves for the end. InputError if the path cannot be written; RunError if the machine fails.
[[nodiscard]] std::unique_ptr<const AtomicFile> check_output(const std::string& flag,
                                                             const std::string& path);

/// A whole small file at once.
void write_file(const std::string& path, std::string_view text);

/// Makes the names in a directory (files created, renamed, removed) survive a power failure.
void sync_directory(const std::string& path);
/// Makes a file's bytes survive a power failure.
void sync_file(const std::string& path);

}  // namespace natrix
