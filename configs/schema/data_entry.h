// DataEntry: one of the items of data.train or data.eval.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace natrix {

struct DataEntry {
  DataEntry(std::string path_of_it) : path(std::move(path_of_it)) {}  // a plain path is an entry

  std::string path;              // a file, a directory, or a directory of token shards
  std::optional<double> weight;  // its part of all rows, relative to the other weights
  std::string key;               // of JSON lines: the member that holds the text; empty: "text"
  bool operator==(const DataEntry&) const = default;
};

inline constexpr size_t kMostSources = 1000;  // entries with weights

inline std::vector<std::string> paths_of(const std::vector<DataEntry>& entries) {
  std::vector<std::string> paths;
  paths.reserve(entries.size());
  for (const DataEntry& entry : entries) paths.push_back(entry.path);
  return paths;
}

/// The entry as an item of a YAML list: its path, or {path: …, weight: …, key: …}.
std::string item_of_list(const DataEntry& entry);

}  // namespace natrix
