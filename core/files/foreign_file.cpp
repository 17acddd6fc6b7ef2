#include "core/files/foreign_file.h"

#include <algorithm>
#include <cctype>

namespace natrix {
namespace {

/// Whether `text` begins with `lower`, whatever the case of its letters.
bool begins(std::string_view text, std::string_view lower) {
  return text.size() >= lower.size() &&
         std::equal(lower.begin(), lower.end(), text.begin(),
                    [](char a, char b) { return a == std::tolower(static_cast<unsigned char>(b)); });
}

}  // namespace

std::string looks_foreign(std::string_view text) {
  using namespace std::string_view_literals;
  if (text.empty()) return "it is empty; a download or copy may have been interrupted: fetch it again";
  if (text.starts_with("version https://git-lfs.github.com/spec/"sv)) {
    return "it is a Git LFS pointer and not the file itself; run `git lfs pull` in its repository";
  }
  const std::string_view marked = text.starts_with("\xef\xbb\xbf"sv) ? text.substr(3) : text;  // UTF-8's mark
  const size_t first = std::min(marked.find_first_not_of(" \t\r\n"), marked.size());
  for (const std::string_view page : {"<!doctype"sv, "<html"sv, "<?xml"sv}) {
    if (begins(marked.substr(first), page)) {
      return "it is an HTML or XML page, as a failed download leaves it; fetch the file again";
    }
  }
  if (text.starts_with("PK\3\4"sv)) {
    return "it is a zip archive, as PyTorch writes .bin and .pt files; save the model as safetensors";
  }
  if (text.size() > 2 && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5 && text[2] != 0) {
    return "it is a Python pickle, which can run code when it is read; save the model as safetensors";
  }
  if (text.starts_with("GGUF"sv)) return "it is a GGUF file; get the model as safetensors";
  if (text.starts_with("\x1f\x8b"sv)) return "it is compressed by gzip; unpack it first";
  return {};
}

}  // namespace natrix
