// Manual pages and completion scripts, of help texts with every sign that roff or a shell would take for its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/describe/completion_scripts.h"
#include "launch/describe/man_pages.h"
#include "tests/launch/program.h"

namespace natrix::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kAwkward = R"(it's "quoted": [a, b] {c} $HOME `x` \n 50% <out> | & ; # ≥ 1 − x)";

ProgramText awkward_program() {
  FlagText flag{{"-o", "--out"}, kAwkward, "TEXT", "[0 - 1]", {}, "a\\b", true, false};
  FlagText mode{{"--mode"}, ".starts with a point", "TEXT", "", {"fast", "slow"}, "", false, false};
  FlagText count{{"--count"}, "'starts with a quote", "INT", "", {}, "", false, true};
  FlagText plain{{"-q"}, "", "", "", {}, "", false, false};
  FlagText path{{"PATH"}, kAwkward, "TEXT", "", {}, "", true, true};
  CommandText command{
      "run", kAwkward, "Examples:\n  natrix run 'a b' \\\nA remark.", {path}, {flag, mode, count, plain}};
  return {"natrix", "natrix 1.2.3", "Describes itself", {plain}, {command}};
}

/// Status of a shell that reads the script, or nothing where there is no such shell.
void expect_readable(const std::string& shell, const std::string& script) {
  if (any_program({"sh", "-c", "command -v " + shell}).status != 0) return;
  const ScratchDir scratch;
  write_file(scratch / "script", script);
  const Outcome r = any_program({shell, "-n", scratch / "script"});
  EXPECT_EQ(r.status, 0) << shell << ": " << r.err << script;
}

TEST(Completion, ShellsReadAwkwardTexts) {
  const ProgramText program = awkward_program();
  expect_readable("bash", bash_completion(program));
  expect_readable("zsh", zsh_completion(program));
  expect_readable("fish", fish_completion(program));
}

TEST(Completion, ValuesArePathsChoicesOrNothing) {
  const ProgramText program = awkward_program();
  const std::string bash = bash_completion(program), zsh = zsh_completion(program),
                    fish = fish_completion(program);
  EXPECT_THAT(bash, HasSubstr("-o | --out) files=1;"));
  EXPECT_THAT(bash, HasSubstr("--mode) words='fast slow';"));
  EXPECT_THAT(bash, HasSubstr("--count) :;"));
  EXPECT_THAT(bash, Not(HasSubstr("-q)")));  // takes no value, so what follows is an argument
  EXPECT_THAT(zsh, HasSubstr("'(--mode)--mode=[.starts with a point]:TEXT:(fast slow)'"));
  EXPECT_THAT(zsh, HasSubstr("'*--count=["));
  EXPECT_THAT(zsh, HasSubstr("'*:PATH:_files'"));
  EXPECT_THAT(fish, HasSubstr("-l mode -x -a 'fast slow'"));
  EXPECT_THAT(fish, HasSubstr("-l count -x"));
  EXPECT_THAT(fish, HasSubstr("-s o -l out -r -F"));
}

TEST(ManPages, EscapeWhatRoffWouldTakeForItsOwn) {
  const ProgramText program = awkward_program();
  const std::string page = man_page(program, program.commands[0]);
  EXPECT_THAT(page, HasSubstr("\\&.starts with a point"));
  EXPECT_THAT(page, HasSubstr("\\&'starts with a quote"));
  EXPECT_THAT(page, HasSubstr("`x` \\en 50%"));
  EXPECT_THAT(page, HasSubstr("# \\[u2265] 1 \\[u2212] x"));
  EXPECT_THAT(page, HasSubstr("\\fB\\-o\\fR, \\fB\\-\\-out\\fR \\fITEXT\\fR"));
  EXPECT_THAT(page, HasSubstr("Range: [0 \\- 1]. Default: a\\eb. Required."));
  EXPECT_THAT(page, HasSubstr("One of fast, slow."));
  EXPECT_THAT(page, HasSubstr("[\\fIOPTION\\fR...] \\fIPATH\\fR..."));
  EXPECT_THAT(page, HasSubstr(".nf\nnatrix run 'a b' \\e\n.fi\n.PP\nA remark.\n"));
}

TEST(ManPages, AreReadWithoutWarnings) {
  if (any_program({"sh", "-c", "command -v groff"}).status != 0) GTEST_SKIP() << "no groff";
  const ProgramText program = awkward_program();
  for (const std::string& page : {man_page(program), man_page(program, program.commands[0])}) {
    const ScratchDir scratch;
    write_file(scratch / "page", page);
    const Outcome r = any_program({"groff", "-man", "-Tutf8", "-ww", scratch / "page"});
    EXPECT_EQ(r.status, 0);
    EXPECT_EQ(r.err, "");
    EXPECT_THAT(r.out, HasSubstr("≥"));
  }
}

}  // namespace
}  // namespace natrix::test
