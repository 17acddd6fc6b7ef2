#include "core/chat/unicode.h"

#include <algorithm>
#include <array>

namespace natrix::chat {
namespace {

// Where an uppercase letter differs from its lowercase one by a constant: first and last uppercase letter, distance.
struct CaseRange {
  uint32_t first, last, distance;
};
constexpr std::array<CaseRange, 6> kDistant = {{{'A', 'Z', 32},
                                                {0xc0, 0xde, 32},    // Latin-1, but for the sign ×
                                                {0x391, 0x3ab, 32},  // Greek
                                                {0x400, 0x40f, 80},  // Cyrillic
                                                {0x410, 0x42f, 32},
                                                {0x531, 0x556, 48}}};  // Armenian
// Where the two are neighbours; `first` is uppercase.
constexpr std::array<std::array<uint32_t, 2>, 9> kNeighbours = {{{0x100, 0x12f},
                                                                 {0x132, 0x137},
                                                                 {0x139, 0x148},
                                                                 {0x14a, 0x177},
                                                                 {0x179, 0x17e},
                                                                 {0x460, 0x481},
                                                                 {0x48a, 0x4bf},
                                                                 {0x1e00, 0x1e95},
                                                                 {0x1ea0, 0x1eff}}};
constexpr uint32_t kMultiplication = 0xd7, kDivision = 0xf7, kSharpS = 0xdf, kUnassigned = 0x3a2;
constexpr uint32_t kFinalSigma = 0x3c2, kSigma = 0x3a3, kYDiaeresis = 0x178;

uint32_t lower_point(uint32_t c) {
  if (c == kMultiplication || c == kUnassigned) return c;
  if (c == kYDiaeresis) return 0xff;
  for (const auto& r : kDistant) {
    if (c >= r.first && c <= r.last) return c + r.distance;
  }
  for (const auto& [first, last] : kNeighbours) {
    if (c >= first && c <= last) return (c - first) % 2 == 0 ? c + 1 : c;
  }
  return c;
}

uint32_t upper_point(uint32_t c) {
  if (c == kDivision || c == kUnassigned + 32) return c == kFinalSigma ? kSigma : c;
  if (c == 0xff) return kYDiaeresis;
  for (const auto& r : kDistant) {
    if (c >= r.first + r.distance && c <= r.last + r.distance) return c - r.distance;
  }
  for (const auto& [first, last] : kNeighbours) {
    if (c >= first && c <= last) return (c - first) % 2 == 1 ? c - 1 : c;
  }
  return c;
}

bool is_line_end(uint32_t c) {
  return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

}  // namespace

size_t point_bytes(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t bytes = lead < 0x80   ? 1
                       : lead < 0xc2 ? 1
                       : lead < 0xe0 ? 2
                       : lead < 0xf0 ? 3
                       : lead < 0xf5 ? 4
                                     : 1;
  if (bytes > text.size()) return 1;
  for (size_t i = 1; i < bytes; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 1;
  }
  return bytes;
}

std::vector<std::string_view> code_points(std::string_view text) {
  std::vector<std::string_view> points;
  while (!text.empty()) {
    points.push_back(text.substr(0, point_bytes(text)));
    text.remove_prefix(points.back().size());
  }
  return points;
}

int64_t count_code_points(std::string_view text) {
  int64_t count = 0;
  for (; !text.empty(); ++count) text.remove_prefix(point_bytes(text));
  return count;
}

uint32_t decode_point(std::string_view point) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(point[i])); };
  if (point.size() == 1) return byte(0);
  uint32_t code = byte(0) & (0xffu >> (point.size() + 1));
  for (size_t i = 1; i < point.size(); ++i) code = code << 6 | (byte(i) & 0x3f);
  return code;
}

void append_point(std::string& text, uint32_t code) {
  const auto put = [&](uint32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

bool is_space(std::string_view point) {
  const uint32_t c = decode_point(point);
  if (point.size() == 1) return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20);
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
         c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

std::string_view strip_left(std::string_view text) {
  while (!text.empty() && is_space(text.substr(0, point_bytes(text)))) text.remove_prefix(point_bytes(text));
  return text;
}

std::string_view strip_right(std::string_view text) {
  while (!text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && (static_cast<unsigned char>(text[start]) & 0xc0) == 0x80)
      --start;
    if (start + point_bytes(text.substr(start)) != text.size()) start = text.size() - 1;  // not valid UTF-8
    if (!is_space(text.substr(start))) break;
    text = text.substr(0, start);
  }
  return text;
}

std::string lower(std::string_view text) {
  std::string out;
  for (; !text.empty(); text.remove_prefix(point_bytes(text))) {
    const std::string_view point = text.substr(0, point_bytes(text));
    const uint32_t code = decode_point(point), changed = lower_point(code);
    if (changed == code || (point.size() == 1 && code >= 0x80)) {
      out += point;
    } else {
      append_point(out, changed);
    }
  }
  return out;
}

std::string upper(std::string_view text) {
  std::string out;
  for (; !text.empty(); text.remove_prefix(point_bytes(text))) {
    const std::string_view point = text.substr(0, point_bytes(text));
    const uint32_t code = decode_point(point), changed = upper_point(code);
    if (code == kSharpS && point.size() > 1) {
      out += "SS";
    } else if (changed == code || (point.size() == 1 && code >= 0x80)) {
      out += point;
    } else {
      append_point(out, changed);
    }
  }
  return out;
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  size_t start = 0, at = 0;
  while (at < text.size()) {
    const std::string_view point = text.substr(at, point_bytes(text.substr(at)));
    if (!is_line_end(decode_point(point)) || (point.size() == 1 && decode_point(point) >= 0x80)) {
      at += point.size();
      continue;
    }
    lines.emplace_back(text.substr(start, at - start));
    at += text.substr(at).starts_with("\r\n") ? 2 : point.size();
    start = at;
  }
  if (start < text.size()) lines.emplace_back(text.substr(start));
  return lines;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to, int64_t most) {
  std::string out;
  int64_t done = 0;
  if (from.empty()) {  // before every code point, and at the end
    for (const std::string_view point : code_points(text)) {
      if (most < 0 || done++ < most) out += to;
      out += point;
    }
    if (most < 0 || done < most) out += to;
    return out;
  }
  for (size_t at = 0;; ++done) {
    const size_t found = most >= 0 && done >= most ? std::string_view::npos : text.find(from, at);
    out += text.substr(at, found == std::string_view::npos ? found : found - at);
    if (found == std::string_view::npos) return out;
    out += to;
    at = found + from.size();
  }
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\'': out += "&#39;"; break;
      case '"': out += "&#34;"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace natrix::chat
