#include "launch/describe/man_pages.h"

#include <fmt/format.h>
#include <sstream>
#include <string_view>

namespace natrix {
namespace {

/// Escapes text inside a line. A hyphen stays a hyphen that can be pasted; characters beyond ASCII are written
/// by number.
std::string roff(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '\\') {
      out += "\\e";
    } else if (byte == '-') {
      out += "\\-";
    } else if (byte < 0x80) {
      out += text[i];
    } else {  // the first byte of UTF-8 gives the number of bytes that follow, six bits each
      const int more = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
      unsigned code = byte & (0x3fu >> more);
      for (int k = 0; k < more && i + 1 < text.size(); ++k) {
        code = code << 6 | (static_cast<unsigned char>(text[++i]) & 0x3fu);
      }
      out += fmt::format("\\[u{:04X}]", code);
    }
  }
  return out;
}

/// Escapes a whole line. A line that begins with a full stop or a quote would be a roff request.
std::string line(std::string_view text) {
  const bool request = !text.empty() && (text[0] == '.' || text[0] == '\'');
  return (request ? "\\&" : "") + roff(text) + "\n";
}

std::string bold(std::string_view text) {
  return "\\fB" + roff(text) + "\\fR";
}
std::string italic(std::string_view text) {
  return "\\fI" + roff(text) + "\\fR";
}

std::string heading(const ProgramText& program, const std::string& page, const std::string& what) {
  return fmt::format(".TH \"{}\" 1 \"\" \"{}\" \"User Commands\"\n.SH NAME\n{} \\- {}\n", roff(page),
                     roff(program.version), roff(page), roff(what));
}

/// Puts optional words in square brackets, and dots after words that may be repeated.
std::string synopsis_of(const FlagText& positional) {
  const std::string name = italic(positional.names[0]) + (positional.repeats ? "..." : "");
  return positional.required ? name : "[" + name + "]";
}

std::string paragraph_of(const FlagText& flag, bool positional) {
  std::string names;
  for (const std::string& name : flag.names) {
    names += (names.empty() ? "" : ", ") + (positional ? italic(name) : bold(name));
  }
  if (!positional && !flag.value.empty()) names += " " + italic(flag.value) + (flag.repeats ? "..." : "");
  std::string text = ".TP\n" + names + "\n" + line(flag.help.empty() ? "See the examples." : flag.help);
  std::string more;
  for (const std::string& choice : flag.choices) more += (more.empty() ? "One of " : ", ") + choice;
  if (!flag.choices.empty()) more += ". ";
  if (!flag.range.empty()) more += "Range: " + flag.range + ". ";
  if (!flag.default_value.empty()) more += "Default: " + flag.default_value + ". ";
  if (flag.required && !positional) more += "Required. ";
  if (!more.empty()) text += ".br\n" + line(more.substr(0, more.size() - 1));
  return text;
}

std::string section(const char* title, const std::vector<FlagText>& flags, bool positional) {
  if (flags.empty()) return "";
  std::string text = fmt::format(".SH {}\n", title);
  for (const FlagText& flag : flags) text += paragraph_of(flag, positional);
  return text;
}

/// A footer is "Example: command", or "Examples:" followed by indented lines; remarks may follow.
std::string examples(const std::string& footer) {
  if (footer.empty()) return "";
  std::istringstream lines(footer);
  std::string commands, remarks;
  for (std::string text; std::getline(lines, text);) {
    bool command = false;
    for (const std::string_view start : {"Example: ", "Examples:", "         ", "  "}) {
      if (!text.starts_with(start)) continue;
      text.erase(0, start.size());
      command = true;
      break;
    }
    if (text.empty()) continue;
    if (command) {
      commands += line(text);
    } else {
      remarks += ".PP\n" + line(text);
    }
  }
  return ".SH EXAMPLES\n.nf\n" + commands + ".fi\n" + remarks;
}

std::string see_also(const ProgramText& program, const std::string& but) {
  std::vector<std::string> pages = {program.name};
  for (const CommandText& command : program.commands) pages.push_back(program.name + "-" + command.name);
  std::erase(pages, but);
  std::string text;
  for (const std::string& page : pages) text += (text.empty() ? "" : ",\n") + bold(page) + "(1)";
  return ".SH SEE ALSO\n" + text + "\n";
}

constexpr std::string_view kExitStatus =
    ".SH EXIT STATUS\n"
    ".TP\n0\nDone.\n"
    ".TP\n1\nFailed: input or output, numerics, or a lost rank.\n"
    ".TP\n2\nWrong usage, configuration or input.\n"
    ".TP\n75\nStopped by a signal, with everything saved: the same command goes on.\n";

}  // namespace

std::string man_page(const ProgramText& program) {
  std::string text = heading(program, program.name, program.description);
  text +=
      fmt::format(".SH SYNOPSIS\n{} {} [{}...]\n", bold(program.name), italic("COMMAND"), italic("ARGUMENT"));
  text += ".SH COMMANDS\n";
  for (const CommandText& command : program.commands) {
    text += fmt::format(".TP\n{}(1)\n{}", bold(program.name + "-" + command.name), line(command.description));
  }
  text += section("OPTIONS", program.flags, false);
  return text + std::string(kExitStatus) + see_also(program, program.name);
}

std::string man_page(const ProgramText& program, const CommandText& command) {
  const std::string page = program.name + "-" + command.name;
  std::string text = heading(program, page, command.description);
  text += ".SH SYNOPSIS\n" + bold(program.name + " " + command.name) + " [" + italic("OPTION") + "...]";
  for (const FlagText& positional : command.positionals) text += " " + synopsis_of(positional);
  text += "\n";
  text += section("ARGUMENTS", command.positionals, true) + section("OPTIONS", command.flags, false);
  return text + examples(command.footer) + std::string(kExitStatus) + see_also(program, page);
}

}  // namespace natrix
