// Megatron's index of a file of tokens: where its sequences and documents lie.
#include <fmt/format.h>

#include "core/text/source_files.h"
#include "core/text/token_format_readers.h"

namespace natrix {
namespace {

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

}  // namespace

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
                      .type = megatron_type(static_cast<unsigned char>(head[17]), path),
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

}  // namespace natrix
