// DataIdentity: what tells the data of a run from others when it goes on, wherever they lie by then.
//
// Two sets of files are the same data if they have the same sizes and contents in the same order; names and
// times of modification are there for messages and people. Of a file's content the first and the last bytes
// are hashed, so that terabytes cost no more than gigabytes; of token shards, which have checksums, nothing
// is read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/text/source_files.h"

namespace natrix {

struct IdentifiedFile {
  std::string name;      // below the path that was given for it
  int64_t size = 0;      // bytes
  int64_t modified = 0;  // nanoseconds since 1970
  std::string hash;      // empty where it is left out: of very many files only some are read
};

struct DataIdentity {
  int64_t count = 0, bytes = 0;       // files, and their bytes together
  int64_t hashed = 0;                 // bytes of either end of a file that its hash covers
  std::string digest;                 // of all sizes and hashes, in order
  std::vector<IdentifiedFile> files;  // empty where there are more than kMostListedFiles
};

inline constexpr size_t kMostListedFiles = 1000;

/// `paths` are those that the files were found by. hashed: as in an identity that this one is compared with;
/// 0: as much as is cheap. RunError or InputError where a file cannot be read.
DataIdentity identify(const std::vector<DataFile>& files, const std::vector<std::string>& paths,
                      int64_t hashed = 0);

/// "a.txt is 2000 bytes, was 8000; new.txt is new": empty for the same data.
std::string difference(const DataIdentity& before, const DataIdentity& now);

}  // namespace natrix
