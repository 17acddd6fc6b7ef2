// The field of data.train and data.eval: a list of paths, each alone or as {path, weight, key}.
#include <algorithm>
#include <fmt/format.h>

#include "configs/schema/field_types.h"
#include "configs/schema/source_text.h"
#include "configs/schema/suggest.h"

namespace natrix {
namespace {

constexpr double kLeastWeight = 1e-9, kMostWeight = 1e9;

/// Reads one item. Returns what is wrong with it.
std::string read_item(const Value::Mapping& mapping, DataEntry& entry) {
  for (const auto& [key, text] : mapping) {
    if (key == "path") {
      entry.path = text;
    } else if (key == "weight") {
      double weight = 0;
      const Field field = number_field(key, weight, kLeastWeight, kMostWeight, "");
      if (!field.read({.texts = {text}, .mappings = {}}))
        return fmt::format("weight {} is not {}", shortened(text), field.expects);
      entry.weight = weight;
    } else if (key == "key") {
      if (text.empty()) return "key is empty; expected the name of a member of JSON lines";
      entry.key = text;
    } else {
      const std::string near = nearest_word(key, {"path", "weight", "key"});
      return fmt::format(
          "{} is not a key of an item; {}", shortened(key),
          near.empty() ? "expected path, weight and key" : fmt::format("did you mean {}?", near));
    }
  }
  return "";
}

/// The entries of a value, or what is wrong with it.
std::string read_entries(const Value& v, std::vector<DataEntry>& entries) {
  for (size_t i = 0; i < v.texts.size(); ++i) {
    DataEntry entry(v.texts[i]);
    if (const auto mapping = v.mappings.find(i); mapping != v.mappings.end()) {
      std::string problem = read_item(mapping->second, entry);
      if (!problem.empty()) return problem;
    }
    if (entry.path.empty()) return "a path of the list is empty";
    entries.push_back(std::move(entry));
  }
  return "";
}

}  // namespace

std::string item_of_list(const DataEntry& entry) {
  if (!entry.weight && entry.key.empty()) return quoted_yaml(entry.path);
  std::string item = "{path: " + quoted_yaml(entry.path);
  if (entry.weight) item += fmt::format(", weight: {}", *entry.weight);
  if (!entry.key.empty()) item += ", key: " + quoted_yaml(entry.key);
  return item + "}";
}

Field data_field(std::string key, std::vector<DataEntry>& to, std::string help) {
  return {.key = std::move(key),
          .expects = "a path, a list of paths, or a list of {path: PATH, weight: NUMBER, key: NAME}",
          .help = std::move(help),
          .takes_mappings = true,
          .is_path = true,
          .read =
              [&to](const Value& v) {
                std::vector<DataEntry> entries;
                if (!read_entries(v, entries).empty()) return false;
                to = std::move(entries);
                return true;
              },
          .print =
              [&to] {
                std::string list;
                for (const DataEntry& entry : to) list += (list.empty() ? "" : ", ") + item_of_list(entry);
                return "[" + list + "]";
              },
          .why_not =
              [](const Value& v) {
                std::vector<DataEntry> entries;
                return read_entries(v, entries);
              },
          .paths =
              [&to] {
                std::vector<std::string*> paths;
                paths.reserve(to.size());
                for (DataEntry& entry : to) paths.push_back(&entry.path);
                return paths;
              }};
}

}  // namespace natrix
