#include "core/gguf/gguf_header.h"

#include <bit>
#include <cstring>
#include <fmt/format.h>

#include "core/files/foreign_file.h"
#include "core/files/json.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

static_assert(std::endian::native == std::endian::little,
              "GGUF files are little-endian, and are mapped as they are");

constexpr int64_t kMostKeyBytes = 65'535;  // the format's own limits
constexpr int64_t kMostNameBytes = 64;
constexpr uint32_t kMostExtents = 4;
constexpr int64_t kDefaultAlignment = 32;
constexpr int64_t kMostAlignment = 1 << 20;
constexpr const char* kAlignmentKey = "general.alignment";

// The fewest bytes of an entry: an empty key's length, a type and one byte; a name's length, no extents, a type
// and an offset.
constexpr uint64_t kLeastMetadataBytes = 8 + 4 + 1;
constexpr uint64_t kLeastTableBytes = 8 + 4 + 4 + 8;

/// Reads the header front to back.
class HeaderParser {
 public:
  HeaderParser(std::string_view file, const std::string& origin) : file_(file), origin_(origin) {}

  GgufHeader parse() {
    read_version();
    const auto tensors = read<uint64_t>("the number of tensors");
    const auto entries = read<uint64_t>("the number of metadata entries");
    check_count(tensors, kLeastTableBytes, "tensors");
    check_count(entries, kLeastMetadataBytes, "metadata entries");
    for (uint64_t i = 0; i < entries; ++i) read_entry();
    const int64_t alignment = read_alignment();
    std::vector<Placed> placed;
    for (uint64_t i = 0; i < tensors; ++i) placed.push_back(read_tensor());
    place(placed, alignment);
    return std::move(header_);
  }

 private:
  struct Placed {
    const std::string* name;
    GgufTensor* tensor;
    uint64_t offset;  // from the start of the data
    int64_t bytes;
  };

  void read_version() {
    if (!file_.starts_with("GGUF")) {
      const std::string foreign = looks_foreign(file_);
      fail_at(0, foreign.empty() ? "not a GGUF file: it does not begin with \"GGUF\""
                                 : "not a GGUF file: " + foreign);
    }
    at_ = 4;
    header_.version = read<uint32_t>("the version");
    if ((header_.version & 0xffffu) == 0 && header_.version != 0) {
      fail_at(4, "the file is big-endian; expected a little-endian one");
    }
    if (header_.version != 2 && header_.version != 3) {
      fail_at(4, fmt::format("the version is {}; expected 2 or 3: convert the model again", header_.version));
    }
  }

  // What an entry needs at the least bounds how many there can be.
  void check_count(uint64_t count, uint64_t least_bytes, std::string_view of) const {
    if (count > static_cast<uint64_t>(left()) / least_bytes) {
      fail_at(at_, fmt::format("the header claims {} {}, but only {} bytes follow; the file is truncated or "
                               "damaged",
                               count, of, left()));
    }
  }

  void read_entry() {
    const int64_t start = at_;
    const std::string key(read_text("a metadata key", kMostKeyBytes));
    if (key.empty()) fail_at(start, "a metadata key is empty");
    GgufValue value;
    value.type = read_type(key);
    if (value.type == GgufValueType::kArray) {
      read_array(key, value);
    } else {
      value.bytes = read_value(value.type, key);
    }
    if (!header_.metadata.emplace(key, value).second) {
      fail_at(start, fmt::format("the metadata have key {} twice", excerpt(key)));
    }
  }

  GgufValueType read_type(const std::string& key) {
    const auto type = GgufValueType{read<uint32_t>("the type of key " + excerpt(key))};
    if (type > GgufValueType::kF64) {
      fail_at(at_ - 4,
              fmt::format("key {} has {}; expected a type from 0 to 12", excerpt(key), name_of(type)));
    }
    return type;
  }

  void read_array(const std::string& key, GgufValue& value) {
    value.element = read_type(key);
    if (value.element == GgufValueType::kArray) {
      fail_at(at_ - 4,
              fmt::format("key {} is an array of arrays; expected numbers, bools or texts", excerpt(key)));
    }
    const auto count = read<uint64_t>("the length of the array " + excerpt(key));
    const bool texts = value.element == GgufValueType::kText;
    const int64_t element_bytes = texts ? 8 : size_of(value.element);  // of a text at least its length
    if (count > static_cast<uint64_t>(left() / element_bytes)) {
      fail_at(at_ - 8, fmt::format("key {} is an array of {} elements, but only {} bytes follow; the file is "
                                   "truncated or damaged",
                                   excerpt(key), count, left()));
    }
    value.count = static_cast<int64_t>(count);
    const int64_t start = at_;
    const std::string what = "a text of key " + excerpt(key);
    for (int64_t i = 0; texts && i < value.count; ++i) read_text(what, INT64_MAX);
    if (!texts) skip(value.count * element_bytes);
    value.bytes = file_.substr(static_cast<size_t>(start), static_cast<size_t>(at_ - start));
    if (value.element == GgufValueType::kBool) check_bools(key, value.bytes);
  }

  std::string_view read_value(GgufValueType type, const std::string& key) {
    if (type == GgufValueType::kText) return read_text("the text of key " + excerpt(key), INT64_MAX);
    const std::string_view bytes = read_bytes(size_of(type), "the value of key " + excerpt(key));
    if (type == GgufValueType::kBool) check_bools(key, bytes);
    return bytes;
  }

  void check_bools(const std::string& key, std::string_view bytes) const {
    for (const char c : bytes) {
      if (c != 0 && c != 1) {
        fail_at(at_, fmt::format("key {} holds a bool of {}; expected 0 or 1", excerpt(key),
                                 static_cast<int>(static_cast<unsigned char>(c))));
      }
    }
  }

  int64_t read_alignment() const {
    const auto found = header_.metadata.find(kAlignmentKey);
    if (found == header_.metadata.end()) return kDefaultAlignment;
    uint32_t alignment = 0;
    if (found->second.type == GgufValueType::kU32) {
      std::memcpy(&alignment, found->second.bytes.data(), sizeof alignment);
    }
    if (!std::has_single_bit(alignment) || alignment > kMostAlignment) {
      throw InputError(fmt::format(
          "{}: key \"{}\" is {}; expected a u32 that is a power of two up to {}", origin_, kAlignmentKey,
          found->second.type == GgufValueType::kU32 ? std::to_string(alignment) : name_of(found->second.type),
          kMostAlignment));
    }
    return alignment;
  }

  Placed read_tensor() {
    const int64_t start = at_;
    const std::string name(read_text("a tensor's name", kMostNameBytes));
    if (name.empty()) fail_at(start, "a tensor's name is empty");
    const auto [at, is_new] = header_.tensors.try_emplace(name);
    if (!is_new) fail_at(start, fmt::format("the file has tensor {} twice", excerpt(name)));
    GgufTensor& tensor = at->second;
    const auto rank = read<uint32_t>("the dimensions of tensor " + excerpt(name));
    if (rank > kMostExtents) {
      fail_tensor(name, fmt::format("has {} dimensions; expected at most {}", rank, kMostExtents));
    }
    for (uint32_t i = 0; i < rank; ++i) tensor.extents.push_back(read_extent(name));
    const auto number = read<uint32_t>("the type of tensor " + excerpt(name));
    const GgufTypeTraits* traits = find_gguf_type(number);
    if (traits == nullptr) {
      fail_tensor(name, fmt::format("is of type {}{}; expected one of {}", number, known_elsewhere(number),
                                    readable_types()));
    }
    tensor.type = traits->type;
    const auto offset = read<uint64_t>("the offset of tensor " + excerpt(name));
    return {&at->first, &tensor, offset, stored_bytes(name, tensor)};
  }

  int64_t read_extent(const std::string& name) {
    const auto extent = read<uint64_t>("the extents of tensor " + excerpt(name));
    if (extent == 0 || extent > static_cast<uint64_t>(INT64_MAX)) {
      fail_tensor(name, fmt::format("has an extent of {}; expected 1 to 2^63 - 1", extent));
    }
    return static_cast<int64_t>(extent);
  }

  int64_t stored_bytes(const std::string& name, const GgufTensor& tensor) const {
    const GgufTypeTraits& traits = traits_of(tensor.type);
    const int64_t row = tensor.extents.empty() ? 1 : tensor.extents[0];
    if (row % traits.block != 0) {
      fail_tensor(name, fmt::format("has rows of {} elements; {} needs a multiple of {}", row, traits.name,
                                    traits.block));
    }
    int64_t bytes = traits.block_bytes;
    bool overflows = __builtin_mul_overflow(bytes, row / traits.block, &bytes);
    int64_t elements = row;  // a product of extents must not overflow either, although blocks take less
    for (size_t i = 1; i < tensor.extents.size(); ++i) {
      overflows = overflows || __builtin_mul_overflow(bytes, tensor.extents[i], &bytes) ||
                  __builtin_mul_overflow(elements, tensor.extents[i], &elements);
    }
    if (overflows) fail_tensor(name, fmt::format("is {}, whose size overflows", tensor.to_string()));
    return bytes;
  }

  // Each tensor begins where the one before it in the table ends, moved up to a multiple of the alignment.
  // Overlaps may be an attack, and holes can hide data.
  void place(const std::vector<Placed>& tensors, int64_t alignment) {
    const int64_t data = round_up(at_, alignment);
    const auto file_bytes = static_cast<int64_t>(file_.size());
    int64_t end = 0;  // of the data so far
    for (const Placed& p : tensors) {
      const int64_t expected = round_up(end, alignment);
      if (p.offset != static_cast<uint64_t>(expected)) {
        fail_tensor(
            *p.name,
            fmt::format("begins at byte {} of the data where {} was expected: {}", p.offset, expected,
                        p.offset < static_cast<uint64_t>(expected) ? "it overlaps the tensor before it"
                                                                   : "there is a hole"));
      }
      if (data > file_bytes || p.bytes > file_bytes - data || expected > file_bytes - data - p.bytes) {
        fail_tensor(*p.name,
                    fmt::format("is {} of {} bytes, which end beyond the file's {} bytes; the file is "
                                "truncated or its header damaged",
                                p.tensor->to_string(), p.bytes, file_bytes));
      }
      p.tensor->bytes = file_.substr(static_cast<size_t>(data + expected), static_cast<size_t>(p.bytes));
      end = expected + p.bytes;
    }
    if (!tensors.empty() && file_bytes - data > round_up(end, alignment)) {
      fail_at(data + end, fmt::format("the tensors end here, but the file has {} bytes", file_bytes));
    }
  }

  // Both at most a file's size, so that the sum does not overflow.
  static int64_t round_up(int64_t n, int64_t alignment) {
    return (n + alignment - 1) / alignment * alignment;
  }

  static std::string_view known_elsewhere(uint32_t number) {
    switch (number) {
      case 10: return " (Q2_K)";
      case 11: return " (Q3_K)";
      case 28: return " (F64)";
      case 16:
      case 17:
      case 18:
      case 19:
      case 20:
      case 21:
      case 22:
      case 23:
      case 29: return " (an IQ type)";
      case 39: return " (MXFP4)";
      default: return "";
    }
  }

  static std::string readable_types() {
    std::string names;
    for (const GgufTypeTraits& t : kGgufTypes)
      names += fmt::format("{}{}", names.empty() ? "" : ", ", t.name);
    return names;
  }

  int64_t left() const { return static_cast<int64_t>(file_.size()) - at_; }

  std::string_view read_bytes(int64_t count, std::string_view what) {
    if (count > left()) {
      fail_at(at_, fmt::format("the file ends within {}: {} bytes are needed and {} left; it is truncated or "
                               "damaged",
                               what, count, left()));
    }
    const std::string_view bytes = file_.substr(static_cast<size_t>(at_), static_cast<size_t>(count));
    at_ += count;
    return bytes;
  }
  void skip(int64_t count) { read_bytes(count, "an array"); }

  template <class T>
  T read(std::string_view what) {
    T value;
    std::memcpy(&value, read_bytes(sizeof value, what).data(), sizeof value);
    return value;
  }

  std::string_view read_text(std::string_view what, int64_t most_bytes) {
    const auto length = read<uint64_t>(what);
    if (length > static_cast<uint64_t>(most_bytes)) {
      fail_at(at_ - 8, fmt::format("{} has {} bytes; expected at most {}", what, length, most_bytes));
    }
    return read_bytes(static_cast<int64_t>(length), what);
  }

  [[noreturn]] void fail_at(int64_t byte, std::string_view what) const {
    throw InputError(fmt::format("{}: byte {}: {}", origin_, byte, what));
  }
  [[noreturn]] void fail_tensor(const std::string& name, std::string_view what) const {
    throw InputError(fmt::format("{}: tensor {} {}", origin_, excerpt(name), what));
  }

  std::string_view file_;
  const std::string& origin_;
  int64_t at_ = 0;
  GgufHeader header_;
};

}  // namespace

int64_t GgufTensor::count() const {
  int64_t n = 1;
  for (const int64_t extent : extents) n *= extent;
  return n;
}

std::string GgufTensor::to_string() const {
  return fmt::format("{}[{}]", traits_of(type).name, fmt::join(extents, ", "));
}

GgufHeader parse_gguf_header(std::string_view file, const std::string& origin) {
  return HeaderParser(file, origin).parse();
}

}  // namespace natrix
