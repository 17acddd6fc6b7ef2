// NumPy's .npy: a magic, a version, the length of the header, and the header, a Python literal such as
// {'descr': '<u2', 'fortran_order': False, 'shape': (9,), }. Then the integers.
#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>

#include "core/files/json.h"
#include "core/text/source_files.h"
#include "core/text/token_format_readers.h"

namespace natrix {
namespace {

constexpr std::string_view kNpyMagic = "\x93NUMPY";

/// The dictionary at the head of a .npy file, which NumPy writes as a Python literal.
class NpyHeader {
 public:
  NpyHeader(std::string_view text, const std::string& path) : text_(text), path_(path) {}

  IntegerType type() const {
    static constexpr std::array<std::pair<std::string_view, IntegerType>, 10> kTypes = {
        {{"<u2", IntegerType::kU16},
         {"<i4", IntegerType::kI32},
         {"<u4", IntegerType::kU32},
         {"<i8", IntegerType::kI64},
         {"<u8", IntegerType::kU64},
         {"<i2", IntegerType::kI16},
         {"|u1", IntegerType::kU8},
         {"|i1", IntegerType::kI8},
         {"<u1", IntegerType::kU8},
         {"<i1", IntegerType::kI8}}};
    std::string_view rest = value_of("descr");
    const char quote = rest.empty() ? '\0' : rest[0];
    const size_t end = rest.find(quote, 1);
    if ((quote != '\'' && quote != '"') || end == std::string_view::npos)
      fail("its dtype is not that of an array of integers");
    const std::string_view descr = rest.substr(1, end - 1);
    for (const auto& [name, type] : kTypes) {
      if (name == descr) return type;
    }
    fail(fmt::format("its dtype is {}; expected integers, little-endian, such as <u2", excerpt(descr)));
  }

  bool fortran_order() const { return value_of("fortran_order").starts_with("True"); }

  std::vector<int64_t> shape() const {
    std::string_view rest = value_of("shape");
    if (!rest.starts_with('(')) fail("its shape cannot be read");
    rest.remove_prefix(1);
    std::vector<int64_t> extents;
    while (true) {
      rest.remove_prefix(std::min(rest.find_first_not_of(", "), rest.size()));
      if (rest.starts_with(')')) return extents;
      int64_t extent = 0;
      const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), extent);
      if (error != std::errc() || extent < 0) fail("its shape cannot be read");
      rest.remove_prefix(static_cast<size_t>(end - rest.data()));
      extents.push_back(extent);
    }
  }

 private:
  std::string_view value_of(std::string_view key) const {
    for (const char quote : {'\'', '"'}) {
      const std::string quoted = fmt::format("{0}{1}{0}:", quote, key);
      const size_t at = text_.find(quoted);
      if (at == std::string_view::npos) continue;
      std::string_view rest = text_.substr(at + quoted.size());
      rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
      return rest;
    }
    fail(fmt::format("its header has no {}", key));
  }

  [[noreturn]] void fail(const std::string& what) const { fail_token_file(path_, what); }

  std::string_view text_;
  const std::string& path_;
};

}  // namespace

StoredTokens open_npy(const std::string& path) {
  const SourceFile file(path);
  const std::string head = beginning_of(path, 12);
  if (!head.starts_with(kNpyMagic) || head.size() < 12)
    fail_token_file(path, "does not begin like a .npy file");
  const int version = static_cast<unsigned char>(head[6]);
  if (version < 1 || version > 3)
    fail_token_file(path, fmt::format("is a .npy file of version {}; expected 1 to 3", version));
  const size_t begin = version == 1 ? 10 : 12;
  const auto length =
      version == 1 ? int64_t{number_at<uint16_t>(head, 8)} : int64_t{number_at<uint32_t>(head, 8)};
  const int64_t offset = static_cast<int64_t>(begin) + length;
  constexpr int64_t kLongestHeader = 1 << 20;
  if (length > kLongestHeader || offset > file.size())
    fail_token_file(path, fmt::format("its header of {} bytes does not end within the file", length));
  const std::string whole = beginning_of(path, static_cast<size_t>(offset));
  const NpyHeader header(std::string_view(whole).substr(begin), path);
  const IntegerType type = header.type();
  const std::vector<int64_t> shape = header.shape();
  if (shape.empty() || shape.size() > 2)
    fail_token_file(path, fmt::format("is an array of {} dimensions; expected one or two", shape.size()));
  if (shape.size() == 2 && header.fortran_order())
    fail_token_file(path, "is stored column by column (fortran_order); save np.ascontiguousarray(a)");
  const int64_t rows = shape.size() == 2 ? shape[0] : 1, columns = shape.back();
  const int64_t payload = file.size() - offset, stored = payload / width_of(type);
  // Divided, not multiplied: the extents may be anything.
  const bool fits =
      payload % width_of(type) == 0 &&
      (rows == 0 || columns == 0 ? stored == 0 : stored % columns == 0 && stored / columns == rows);
  if (!fits) {
    fail_token_file(path, fmt::format("its header says {} x {} integers of {} bytes, but {} bytes follow it",
                                      rows, columns, width_of(type), payload));
  }
  if (stored == 0) fail_token_file(path, "holds no tokens");
  return {.path = path,
          .file_size = file.size(),
          .offset = offset,
          .type = type,
          .count = stored,
          .index = {},
          .index_size = 0,
          .document_starts = {}};
}

}  // namespace natrix
