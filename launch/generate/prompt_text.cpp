#include "launch/generate/prompt_text.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iostream>

#include "core/generate/joint_prefill.h"
#include "core/report/progress.h"
#include "core/tokenizers/stream_encoder.h"

namespace natrix {
namespace {

constexpr int64_t kLeastPiece = 1024, kMostPiece = int64_t{1} << 20;  // bytes of a prompt file read at once

std::ifstream open_prompt(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file || std::filesystem::is_directory(path)) {
    throw InputError(fmt::format("--prompt-file {}: {}", path,
                                 file ? "is a directory; expected a text" : "cannot be opened for reading"));
  }
  return file;
}

int64_t bytes_in(std::ifstream& file) {
  const auto size = static_cast<int64_t>(file.seekg(0, std::ios::end).tellg());
  file.seekg(0);
  return size;
}

}  // namespace

int64_t read_prompt(GenerateRun& run, Session& session, Decoder* decoder, const Tokenizer& tokenizer,
                    const Ranks& ranks) {
  const GenerateFlags& flags = run.flags();
  JointPrefill prefill(session, run.model(), run.context(), ranks, flags.common.chunk);
  StreamEncoder encoder(tokenizer);
  const auto feed_ids = [&](const std::vector<int64_t>& ids, const JointPrefill::Progress& progress) {
    for (int64_t id : ids) {
      if (decoder != nullptr) decoder->accept(0, id);
    }
    if (!ids.empty()) prefill.feed(as_row(ids).view(), progress);
    return static_cast<int64_t>(ids.size());
  };
  if (flags.prompt_file.empty()) {
    const int64_t read = feed_ids(tokenizer.encode(flags.prompt), [](int64_t) {});
    prefill.finish();
    return read;
  }
  const bool standard = flags.prompt_file == "-";
  std::ifstream file = standard ? std::ifstream() : open_prompt(flags.prompt_file);
  std::istream& in = standard ? std::cin : file;
  const bool a_byte_each = tokenizer.name() == "bytes";  // else their number is not known before
  Progress progress("reading", standard || !a_byte_each ? 0 : bytes_in(file), "tokens",
                    {.quiet = run.quiet()});
  const auto advance = [&](int64_t n) { progress.advance(n); };
  const int64_t at_once = std::clamp(flags.common.chunk, kLeastPiece, kMostPiece) * run.ranks().shape().cp;
  std::string piece(static_cast<size_t>(at_once), '\0');
  int64_t total = 0;
  while (in.read(piece.data(), static_cast<std::streamsize>(piece.size())), in.gcount() > 0) {
    total += feed_ids(encoder.push({piece.data(), static_cast<size_t>(in.gcount())}), advance);
  }
  if (in.bad() || (standard && std::ferror(stdin) != 0))
    throw RunError(fmt::format("--prompt-file {}: reading failed", flags.prompt_file));
  total += feed_ids(encoder.finish(), advance);
  prefill.finish(advance);
  return total;
}

}  // namespace natrix
