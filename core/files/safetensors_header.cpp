#include "core/files/safetensors_header.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/foreign_file.h"
#include "core/files/json.h"
#include "kernels/base/buffer.h"

namespace natrix {
namespace {

static_assert(std::endian::native == std::endian::little,
              "safetensors are little-endian, and are mapped as they are");

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kMostHeaderBytes = 100'000'000;  // the format's own limit

struct DtypeName {
  const char* name;
  Dtype dtype;
};
// The first name of a dtype is the one that is written; BOOL is read as bytes of 0 and 1.
constexpr std::array<DtypeName, 8> kDtypes = {{{"F64", Dtype::kF64},
                                               {"F32", Dtype::kF32},
                                               {"BF16", Dtype::kBF16},
                                               {"F16", Dtype::kF16},
                                               {"I64", Dtype::kI64},
                                               {"I32", Dtype::kI32},
                                               {"U8", Dtype::kU8},
                                               {"BOOL", Dtype::kU8}}};

const char* stored_name(Dtype dtype) {
  return std::find_if(kDtypes.begin(), kDtypes.end(), [&](const DtypeName& d) { return d.dtype == dtype; })
      ->name;
}

// One entry of the header, with the file and the tensor in its errors.
class EntryParser {
 public:
  EntryParser(const std::string& path, const std::string& name, const nlohmann::json& entry)
      : path_(path), name_(name), entry_(entry) {}

  StoredTensor parse(int64_t data_bytes) const {
    if (!entry_.is_object()) fail("is not an object; expected dtype, shape and data_offsets");
    StoredTensor t{name_, dtype(), shape(), 0, 0};
    const nlohmann::json& offsets = member("data_offsets");
    if (!offsets.is_array() || offsets.size() != 2) fail("has data_offsets that are not [begin, end]");
    t.begin = whole(offsets[0], "data_offsets");
    t.end = whole(offsets[1], "data_offsets");
    if (t.begin > t.end) fail(fmt::format("begins at byte {} and ends before it, at {}", t.begin, t.end));
    if (t.end > data_bytes) {
      fail(fmt::format(
          "ends at byte {} of the data, which has {}; the file is truncated or its header damaged", t.end,
          data_bytes));
    }
    if (t.end - t.begin != needed_bytes(t)) {
      fail(fmt::format("is {}{} of {} bytes, but its data_offsets span {}", name_of(t.dtype),
                       t.shape.to_string(), needed_bytes(t), t.end - t.begin));
    }
    return t;
  }

 private:
  Dtype dtype() const {
    const nlohmann::json& value = member("dtype");
    if (!value.is_string()) fail("has a dtype that is not a string");
    for (const DtypeName& d : kDtypes) {
      if (value.get_ref<const std::string&>() == d.name) return d.dtype;
    }
    fail(fmt::format("has dtype {}; expected F64, F32, BF16, F16, I64, I32, U8 or BOOL",
                     excerpt(value.get_ref<const std::string&>())));
  }

  Shape shape() const {
    const nlohmann::json& value = member("shape");
    if (!value.is_array()) fail("has a shape that is not an array");
    if (value.size() > static_cast<size_t>(Shape::kMaxRank)) {
      fail(fmt::format("has {} dimensions; expected at most {}", value.size(), Shape::kMaxRank));
    }
    Shape shape;
    for (const nlohmann::json& extent : value) shape.push_back(whole(extent, "shape"));
    return shape;
  }

  int64_t needed_bytes(const StoredTensor& t) const {
    int64_t bytes = size_of(t.dtype);
    for (int i = 0; i < t.shape.rank(); ++i) {
      if (__builtin_mul_overflow(bytes, t.shape[i], &bytes)) {
        fail(fmt::format("has shape {}, whose size overflows", t.shape.to_string()));
      }
    }
    return bytes;
  }

  int64_t whole(const nlohmann::json& value, std::string_view what) const {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
      fail(fmt::format("has {} in its {}; expected whole numbers from 0 to 2^63 - 1",
                       excerpt(value.is_structured() ? "an array or object" : value.dump()), what));
    }
    return value.get<int64_t>();
  }

  const nlohmann::json& member(const char* key) const {
    const auto found = entry_.find(key);
    if (found == entry_.end()) fail(fmt::format("has no {}", key));
    return *found;
  }

  [[noreturn]] void fail(std::string_view what) const {
    throw InputError(fmt::format("{}: tensor {} {}", path_, excerpt(name_), what));
  }

  const std::string& path_;
  const std::string& name_;
  const nlohmann::json& entry_;
};

std::map<std::string, std::string> parse_metadata(const nlohmann::json& value, const std::string& path) {
  if (value.is_null()) return {};  // some writers' "none"
  if (!value.is_object()) throw InputError(fmt::format("{}: __metadata__ is not an object of strings", path));
  std::map<std::string, std::string> metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) {
      throw InputError(fmt::format("{}: __metadata__ key {} is not a string", path, excerpt(key)));
    }
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

// Sorted tensors must follow each other directly. Overlaps may be an attack, and gaps can hide data.
void check_tiling(const std::vector<StoredTensor>& tensors, int64_t data_bytes, const std::string& path) {
  int64_t claimed = 0;
  for (const StoredTensor& t : tensors) {
    if (t.begin != claimed) {
      throw InputError(fmt::format(
          "{}: tensor {} begins at byte {} of the data where {} was expected: {}", path, excerpt(t.name),
          t.begin, claimed, t.begin < claimed ? "it overlaps the tensor before it" : "there is a hole"));
    }
    claimed = t.end;
  }
  if (claimed != data_bytes) {
    throw InputError(fmt::format("{}: the tensors take {} bytes of data, but the file holds {}", path,
                                 claimed, data_bytes));
  }
}

/// A file with a header of 640 bytes begins like a pickle, so foreign formats are considered only if there is
/// no valid header.
void refuse_foreign(std::string_view file, const std::string& path) {
  if (file.size() > kLengthBytes && file[kLengthBytes] == '{') return;
  if (const std::string foreign = looks_foreign(file); !foreign.empty()) {
    throw InputError(fmt::format("{}: not a safetensors file: {}", path, foreign));
  }
}

std::string_view header_text(std::string_view file, const std::string& path) {
  const auto file_bytes = static_cast<int64_t>(file.size());
  refuse_foreign(file, path);
  if (file_bytes < kLengthBytes) {
    throw InputError(fmt::format("{}: {} bytes are too few for a safetensors file", path, file_bytes));
  }
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  if (length > static_cast<uint64_t>(kMostHeaderBytes)) {
    throw InputError(
        fmt::format("{}: not a safetensors file: its first 8 bytes claim a header of {} bytes, expected "
                    "at most {}",
                    path, length, kMostHeaderBytes));
  }
  if (static_cast<int64_t>(length) > file_bytes - kLengthBytes) {
    throw InputError(
        fmt::format("{}: its header should have {} bytes, but only {} follow; the file is truncated or no "
                    "safetensors file",
                    path, length, file_bytes - kLengthBytes));
  }
  const std::string_view text = file.substr(kLengthBytes, length);
  if (text.empty() || text.front() != '{') {
    throw InputError(fmt::format("{}: not a safetensors file: its header does not start with '{{'", path));
  }
  return text;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view file, const std::string& path) {
  const std::string_view text = header_text(file, path);
  const nlohmann::json json = parse_json(text, path);
  SafetensorsHeader header;
  header.data_start = kLengthBytes + static_cast<int64_t>(text.size());
  const int64_t data_bytes = static_cast<int64_t>(file.size()) - header.data_start;
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") {
      header.metadata = parse_metadata(entry, path);
    } else {
      header.tensors.push_back(EntryParser(path, name, entry).parse(data_bytes));
    }
  }
  std::sort(header.tensors.begin(), header.tensors.end(), [](const StoredTensor& a, const StoredTensor& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  check_tiling(header.tensors, data_bytes, path);
  return header;
}

void place_tensors(std::vector<StoredTensor>& tensors) {
  std::vector<StoredTensor*> order;
  for (StoredTensor& t : tensors) order.push_back(&t);
  std::stable_sort(order.begin(), order.end(), [](const StoredTensor* a, const StoredTensor* b) {
    return size_of(a->dtype) > size_of(b->dtype);
  });
  int64_t next = 0;
  for (StoredTensor* t : order) {
    t->begin = next;
    t->end = next + checked_bytes(t->dtype, t->shape);
    next = t->end;
  }
}

std::string format_safetensors_header(const std::vector<StoredTensor>& tensors,
                                      const std::map<std::string, std::string>& metadata) {
  nlohmann::json json = nlohmann::json::object();
  if (!metadata.empty()) json["__metadata__"] = metadata;
  for (const StoredTensor& t : tensors) {
    require(t.name != "__metadata__" && !json.contains(t.name),
            "two tensors of one name in a safetensors file");
    nlohmann::json shape = nlohmann::json::array();
    for (int i = 0; i < t.shape.rank(); ++i) shape.push_back(t.shape[i]);
    json[t.name] = {{"dtype", stored_name(t.dtype)}, {"shape", shape}, {"data_offsets", {t.begin, t.end}}};
  }
  // Metadata may quote a path, and paths need not be UTF-8.
  std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  require(length <= static_cast<uint64_t>(kMostHeaderBytes),
          "a safetensors header beyond the format's limit");
  std::string header(kLengthBytes, '\0');
  std::memcpy(header.data(), &length, sizeof length);
  return header + text;
}

}  // namespace natrix
