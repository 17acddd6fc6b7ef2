// DataIdentity: lets a resumed run check that its data are the same, wherever they are by then.
//
// Two sets of files are the same data if they have the same sizes and contents in the same order. Names and
// modification times serve only messages. The hash covers the first and the last bytes of each file, so that
// terabytes cost no more than gigabytes. Token shards have checksums and are not read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/text/source_files.h"

namespace natrix {

struct IdentifiedFile {
  std::string name;      // relative to the path that it was found by
  int64_t size = 0;      // bytes
  int64_t modified = 0;  // nanoseconds since 1970
  std::string hash;      // empty if the file was not read: with very many files only some are
};

struct DataIdentity {
  int64_t count = 0, bytes = 0;       // number of files, and their total size
  int64_t hashed = 0;                 // bytes at either end of a file that its hash covers
  std::string digest;                 // of all sizes and hashes, in order
  std::vector<IdentifiedFile> files;  // empty if there are more than kMostListedFiles
};

inline constexpr size_t kMostListedFiles = 1000;

/// `paths` are those that the files were found by. hashed: the value of the identity to compare with; 0: as
/// many bytes as are cheap. RunError or InputError if a file cannot be read.
DataIdentity identify(const std::vector<DataFile>& files, const std::vector<std::string>& paths,
                      int64_t hashed = 0);

/// "a.txt is 2000 bytes, was 8000; new.txt is new". Empty if the data are the same.
std::string difference(const DataIdentity& before, const DataIdentity& now);

}  // namespace natrix
