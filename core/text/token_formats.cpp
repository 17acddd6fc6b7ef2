#include "core/text/token_formats.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <string_view>

#include "core/files/json.h"
#include "core/text/source_files.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr std::string_view kMegatronMagic("MMIDIDX\0\0", 9);
constexpr std::string_view kNpyMagic = "\x93NUMPY";
constexpr int32_t kLlmCMagic16 = 20240520, kLlmCMagic32 = 20240801;
constexpr int64_t kLlmCHeader = 256 * sizeof(int32_t);

[[noreturn]] void fail_token_file(const std::string& path, const std::string& what) {
  throw InputError(fmt::format("{}: {}", path, what));
}

/// The first bytes of a regular file; fewer if it is shorter, none if there is no such file.
std::string beginning_of(const std::string& path, size_t bytes) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return "";
  const SourceFile file(path);
  std::string text(std::min(bytes, static_cast<size_t>(file.size())), '\0');
  file.read(0, static_cast<int64_t>(text.size()), text.data());
  return text;
}

bool begins_with(const std::string& path, std::string_view magic) {
  return beginning_of(path, magic.size()) == magic;
}

template <class T>
T number_at(std::string_view bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

std::string megatron_stem(const std::string& path) {
  return path.ends_with(".idx") || path.ends_with(".bin") ? path.substr(0, path.size() - 4) : path;
}

bool is_llm_c(const std::string& path) {
  const std::string head = beginning_of(path, sizeof(int32_t));
  if (head.size() < sizeof(int32_t)) return false;
  const auto magic = number_at<int32_t>(head, 0);
  return magic == kLlmCMagic16 || magic == kLlmCMagic32;
}

StoredTokens open_llm_c(const std::string& path) {
  const SourceFile file(path);
  const std::string head = beginning_of(path, static_cast<size_t>(kLlmCHeader));
  if (static_cast<int64_t>(head.size()) < kLlmCHeader) {
    fail_token_file(path, fmt::format("is {} bytes long, shorter than the header of an llm.c file, {}",
                                      head.size(), kLlmCHeader));
  }
  const bool wide = number_at<int32_t>(head, 0) == kLlmCMagic32;
  const auto version = number_at<int32_t>(head, 4), count = number_at<int32_t>(head, 8);
  if (version != (wide ? 7 : 1)) {
    fail_token_file(path, fmt::format("is an llm.c file of version {}; expected {}", version, wide ? 7 : 1));
  }
  const int64_t width = wide ? 4 : 2, payload = file.size() - kLlmCHeader;
  if (count < 1 || payload != count * width) {
    fail_token_file(path, fmt::format("its header says {} tokens of {} bytes, but {} bytes follow it", count,
                                      width, payload));
  }
  return {.path = path,
          .file_size = file.size(),
          .offset = kLlmCHeader,
          .type = wide ? IntegerType::kU32 : IntegerType::kU16,
          .count = count,
          .index = {},
          .index_size = 0,
          .document_starts = {}};
}

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

StoredTokens open_npy(const std::string& path) {
  const SourceFile file(path);
  const std::string head = beginning_of(path, 12);
  if (!head.starts_with(kNpyMagic) || head.size() < 12)
    fail_token_file(path, "does not begin like a .npy file");
  const int version = head[6];
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

IntegerType megatron_type(int code, const std::string& path) {
  switch (code) {
    case 1: return IntegerType::kU8;
    case 2: return IntegerType::kI8;
    case 3: return IntegerType::kI16;
    case 4: return IntegerType::kI32;
    case 5: return IntegerType::kI64;
    case 8: return IntegerType::kU16;
    default: break;
  }
  fail_token_file(path,
                  fmt::format("its tokens have dtype {}; expected one of the integers, 1 to 5 or 8", code));
}

/// 9 bytes of magic, u64 version, u8 dtype, u64 sequences, u64 documents + 1; then the lengths (i32) and the
/// byte offsets (i64) of the sequences, and the sequence at which each document begins (i64).
StoredTokens open_megatron(const std::string& stem) {
  const std::string path = stem + ".idx";
  const SourceFile index(path), tokens(stem + ".bin");
  constexpr int64_t kHead = 9 + 8 + 1 + 8 + 8;
  const std::string head = beginning_of(path, kHead);
  if (!head.starts_with(kMegatronMagic))
    fail_token_file(
        path, fmt::format("does not begin with MMIDIDX, as Megatron's index of {} does", tokens.path()));
  if (static_cast<int64_t>(head.size()) < kHead)
    fail_token_file(path, fmt::format("is {} bytes long, shorter than its header", head.size()));
  if (const auto version = number_at<uint64_t>(head, 9); version != 1)
    fail_token_file(path, fmt::format("is an index of version {}; expected 1", version));
  StoredTokens stored{.path = tokens.path(),
                      .file_size = tokens.size(),
                      .offset = 0,
                      .type = megatron_type(head[17], path),
                      .count = 0,
                      .index = path,
                      .index_size = index.size(),
                      .document_starts = {}};
  const int64_t width = width_of(stored.type);
  const auto sequences = number_at<uint64_t>(head, 18), bounds = number_at<uint64_t>(head, 26);
  const auto payload = static_cast<uint64_t>(index.size() - kHead);
  // A multimodal data set has one more byte a sequence.
  const bool fits = sequences <= payload / 12 && bounds <= payload / 8 &&
                    (payload == 12 * sequences + 8 * bounds || payload == 13 * sequences + 8 * bounds);
  if (!fits || sequences == 0 || bounds < 2) {
    fail_token_file(path, fmt::format("its header says {} sequences and {} bounds of documents, but {} bytes "
                                      "follow it",
                                      sequences, bounds, payload));
  }
  const auto read_all = [&](auto& values, int64_t offset) {
    index.read(offset, static_cast<int64_t>(values.size() * sizeof values[0]), values.data());
  };
  std::vector<int32_t> lengths(sequences);
  std::vector<int64_t> offsets(sequences), first_sequences(bounds);
  const auto n = static_cast<int64_t>(sequences);
  read_all(lengths, kHead);
  read_all(offsets, kHead + 4 * n);
  read_all(first_sequences, kHead + 12 * n);

  std::vector<int64_t> starts(sequences + 1);  // tokens before each sequence
  for (size_t i = 0; i < sequences; ++i) {
    if (lengths[i] < 0 || offsets[i] != starts[i] * width) {
      fail_token_file(path,
                      fmt::format("sequence {} has {} tokens at byte {}; expected sequences that follow "
                                  "one another, this one at byte {}",
                                  i, lengths[i], offsets[i], starts[i] * width));
    }
    starts[i + 1] = starts[i] + lengths[i];
  }
  stored.count = starts.back();
  if (stored.count == 0 || tokens.size() != stored.count * width) {
    fail_token_file(path, fmt::format("says that {} has {} tokens of {} bytes, but it has {} bytes",
                                      tokens.path(), stored.count, width, tokens.size()));
  }
  int64_t before = 0;
  for (const int64_t first : first_sequences) {
    if (first < before || first > n)
      fail_token_file(path, fmt::format("a document begins at sequence {}, after one at {}", first, before));
    before = first;
    stored.document_starts.push_back(starts[static_cast<size_t>(first)]);
  }
  if (first_sequences.front() != 0 || first_sequences.back() != n)
    fail_token_file(path, fmt::format("its documents are not all of its {} sequences", sequences));
  return stored;
}

template <class Stored>
void widen_from(const unsigned char* stored, int64_t count, int64_t* tokens) {
  for (int64_t i = 0; i < count; ++i) {
    Stored token;
    std::memcpy(&token, stored + i * int64_t{sizeof token}, sizeof token);
    tokens[i] = static_cast<int64_t>(token);
  }
}

}  // namespace

int64_t width_of(IntegerType type) {
  switch (type) {
    case IntegerType::kU8:
    case IntegerType::kI8: return 1;
    case IntegerType::kU16:
    case IntegerType::kI16: return 2;
    case IntegerType::kU32:
    case IntegerType::kI32: return 4;
    case IntegerType::kU64:
    case IntegerType::kI64: break;
  }
  return 8;
}

std::optional<TokenFormat> token_format_of(const std::string& path) {
  std::error_code error;
  const auto exists = [&](const std::string& file) { return std::filesystem::exists(file, error); };
  const bool is_name = !exists(path), is_index = path.ends_with(".idx"), is_bin = path.ends_with(".bin");
  if (is_name || is_index || is_bin) {
    const std::string stem = megatron_stem(path);
    const bool pair = exists(stem + ".idx") && exists(stem + ".bin");
    if (pair || begins_with(stem + ".idx", kMegatronMagic)) return TokenFormat::kMegatron;
  }
  if (is_bin && is_llm_c(path)) return TokenFormat::kLlmC;
  if (path.ends_with(".npy") && !is_name) return TokenFormat::kNpy;
  return std::nullopt;
}

std::string tokens_path(TokenFormat format, const std::string& path) {
  return format == TokenFormat::kMegatron ? megatron_stem(path) + ".bin" : path;
}

StoredTokens open_token_file(TokenFormat format, const std::string& path) {
  switch (format) {
    case TokenFormat::kMegatron: return open_megatron(megatron_stem(path));
    case TokenFormat::kLlmC: return open_llm_c(path);
    case TokenFormat::kNpy: break;
  }
  return open_npy(path);
}

void widen_integers(const unsigned char* stored, IntegerType type, int64_t count, int64_t* tokens) {
  switch (type) {
    case IntegerType::kU8: return widen_from<uint8_t>(stored, count, tokens);
    case IntegerType::kI8: return widen_from<int8_t>(stored, count, tokens);
    case IntegerType::kU16: return widen_from<uint16_t>(stored, count, tokens);
    case IntegerType::kI16: return widen_from<int16_t>(stored, count, tokens);
    case IntegerType::kU32: return widen_from<uint32_t>(stored, count, tokens);
    case IntegerType::kI32: return widen_from<int32_t>(stored, count, tokens);
    case IntegerType::kU64: return widen_from<uint64_t>(stored, count, tokens);
    case IntegerType::kI64: return widen_from<int64_t>(stored, count, tokens);
  }
}

}  // namespace natrix
