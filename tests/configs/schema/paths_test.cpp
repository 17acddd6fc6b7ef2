// ~ in paths, and paths as messages show them.
#include "configs/schema/paths.h"

#include <cstdlib>
#include <optional>
#include <pwd.h>
#include <unistd.h>

#include "configs/schema/field.h"
#include "tests/configs/schema/minimal.h"

namespace natrix {
namespace {

/// HOME for one scope; null: not set.
class HomeIs {
 public:
  explicit HomeIs(const char* home) {
    if (const char* before = std::getenv("HOME")) before_ = before;
    home != nullptr ? setenv("HOME", home, 1) : unsetenv("HOME");
  }
  ~HomeIs() { before_ ? setenv("HOME", before_->c_str(), 1) : unsetenv("HOME"); }
  HomeIs(const HomeIs&) = delete;
  HomeIs& operator=(const HomeIs&) = delete;

 private:
  std::optional<std::string> before_;
};

TEST(ExpandPath, ALeadingTildeIsAHomeDirectory) {
  const HomeIs home("/home/ada");
  const passwd* root = getpwuid(0);
  ASSERT_NE(root, nullptr);
  const std::string roots = root->pw_dir;
  const std::pair<std::string, std::string> cases[] = {{"~", "/home/ada"},
                                                       {"~/", "/home/ada/"},
                                                       {"~/x", "/home/ada/x"},
                                                       {"~/~", "/home/ada/~"},
                                                       {"~//x", "/home/ada//x"},
                                                       {"~/../x", "/home/ada/../x"},
                                                       {"~root", roots},
                                                       {"~root/x y", roots + "/x y"},
                                                       {"a~b", "a~b"},
                                                       {"./~", "./~"},
                                                       {"./~root", "./~root"},
                                                       {"a/~/b", "a/~/b"},
                                                       {"/~", "/~"},
                                                       {" ~", " ~"},
                                                       {"\\~", "\\~"},
                                                       {"$HOME/x", "$HOME/x"},
                                                       {"plain.txt", "plain.txt"}};
  for (const auto& [given, expected] : cases) {
    EXPECT_EQ(expand_path(given).path, expected) << given;
    EXPECT_EQ(expand_path(given).problem, "") << given;
  }
}

TEST(ExpandPath, HomeMayEndInSlashes) {
  for (const auto& [home, x] : {std::pair("/", "/x"), {"/home/ada/", "/home/ada/x"}}) {
    const HomeIs is(home);
    EXPECT_EQ(expand_path("~/x").path, x);
  }
}

TEST(ExpandPath, WithoutHomeThePasswordDatabaseIsAsked) {
  const passwd* me = getpwuid(getuid());
  if (me == nullptr) GTEST_SKIP() << "this user is not in the password database";
  const std::string home = me->pw_dir;
  for (const char* unset : {static_cast<const char*>(nullptr), ""}) {
    const HomeIs is(unset);
    EXPECT_EQ(expand_path("~/x").path, home + "/x");
  }
}

TEST(ExpandPath, NamesWhatIsWrong) {
  EXPECT_EQ(expand_path("").problem, "the path is empty");
  for (const char* unknown : {"~no-such-user", "~no-such-user/x"}) {
    const std::string problem = expand_path(unknown).problem;
    EXPECT_TRUE(contains(problem, "there is no user no-such-user")) << problem;
    EXPECT_TRUE(contains(problem, "write ./~no-such-user for a file of that name")) << problem;
    EXPECT_EQ(expand_path(unknown).path, "");
  }
  const HomeIs relative("ada");
  EXPECT_TRUE(contains(expand_path("~/x").problem, "HOME is ada, expected an absolute path"));
}

TEST(ExpandPath, AUserWithoutAnyHomeIsAnError) {
  constexpr uid_t kNobodysNumber = 54321;
  if (getuid() != 0 || getpwuid(kNobodysNumber) != nullptr) GTEST_SKIP() << "cannot become an unknown user";
  EXPECT_EXIT(
      {
        unsetenv("HOME");
        const bool is_unknown = setuid(kNobodysNumber) == 0;
        const ExpandedPath home = expand_path("~/x");
        std::fputs(home.problem.c_str(), stderr);
        std::exit(is_unknown && home.path.empty() ? 0 : 1);
      },
      testing::ExitedWithCode(0), "~/x: HOME is not set, and the password database");
}

TEST(Tilde, StandsForHomeInEveryKeyThatIsAPath) {
  const HomeIs home("/home/ada");
  ExperimentConfig defaults;
  for (const Field& f : fields_of(defaults)) {
    if (!f.is_path) continue;
    const LoadedConfig l =
        parse("model: {pattern: M, d_model: 4}\n",
              {f.key == "data.batches" ? "data.train=[]" : "data.train=a.txt", f.key + "=~/x"});
    ExperimentConfig config = l.config;
    for (const Field& bound : fields_of(config)) {
      if (bound.key == f.key) {
        EXPECT_TRUE(bound.print() == "/home/ada/x" || bound.print() == "[/home/ada/x]")
            << f.key << bound.print();
      }
    }
    EXPECT_FALSE(contains(to_yaml(l, true), "~")) << to_yaml(l, true);
  }
}

TEST(Tilde, InFilesAndOnTheCommandLine) {
  const HomeIs home("/home/ada");
  const std::string text =
      "model: {pattern: M, d_model: 4}\nrun: {dir: ~/run}\n"
      "data: {train: [~/a, ~root/b, c~d, ./~, \"~\"], tokenizer: \"~/t\"}\n";
  const LoadedConfig file = parse_experiment(text, "folder/x.yaml");
  EXPECT_EQ(file.config.run.dir, "/home/ada/run");
  EXPECT_EQ(file.config.data.tokenizer, "/home/ada/t");
  const std::string roots = getpwuid(0)->pw_dir;
  EXPECT_EQ(paths_of(file.config.data.train),
            (std::vector<std::string>{"/home/ada/a", roots + "/b", "folder/c~d", "folder/./~", "/home/ada"}));
  const LoadedConfig line =
      parse(kMinimal, {"run.dir=~", "data.train=[~/a,~/b]", "data.eval=\"~/e\"", "data.tokenizer=bytes"});
  EXPECT_EQ(line.config.run.dir, "/home/ada");
  EXPECT_EQ(paths_of(line.config.data.train), (std::vector<std::string>{"/home/ada/a", "/home/ada/b"}));
  EXPECT_EQ(paths_of(line.config.data.eval), std::vector<std::string>{"/home/ada/e"});
  EXPECT_EQ(line.config.data.tokenizer, "bytes");
  EXPECT_TRUE(contains(complaint(kMinimal + "run: {dir: ~no-such-user/x}\n"),
                       "x.yaml:3: run.dir: ~no-such-user/x: there is no user no-such-user"));
  EXPECT_TRUE(contains(complaint(kMinimal, {"data.train=[a, ~no-such-user]"}), "no user no-such-user"));
}

TEST_F(ConfigFiles, ExtendsBelowHome) {
  write("home/base.yaml", kMinimal);
  const HomeIs home((folder_ / "home").c_str());
  const std::string config = write("sub/a.yaml", "extends: ~/base.yaml\nrun: {dir: x}\n");
  const LoadedConfig l = load_experiment(config);
  EXPECT_EQ(l.config.data.train[0].path, (folder_ / "home/a.txt").string());
  EXPECT_EQ(l.config.run.dir, (folder_ / "sub/x").string());
  EXPECT_TRUE(contains(file_complaint(write("b.yaml", "extends: ~no-such-user/a\n")),
                       "b.yaml:1: extends: ~no-such-user/a: there is no user"));
  EXPECT_TRUE(
      contains(file_complaint(write("c.yaml", "extends: \"\"\n")), "c.yaml:1: extends: the path is empty"));
}

TEST_F(ConfigFiles, AMessageShowsAShortPath) {
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::create_directories(folder_ / "here/runs");
  std::filesystem::create_directories(folder_ / "there/inside");
  std::filesystem::create_directory_symlink(folder_ / "there/inside", folder_ / "here/link");
  std::filesystem::current_path(folder_ / "here");
  const std::string here = std::filesystem::current_path(), above = (folder_ / "there").string();
  const std::pair<std::string, std::string> cases[] = {{"configs/../runs/x", "runs/x"},
                                                       {"./runs//x/.", "runs/x/"},
                                                       {here + "/runs/x", "runs/x"},
                                                       {"../here/runs", "runs"},
                                                       {".", "."},
                                                       {here, "."},
                                                       {"../there/./x", "../there/x"},
                                                       {above + "/./x", above + "/x"},
                                                       {"link/../x", "link/../x"},
                                                       {"link/x", "link/x"},
                                                       {"", ""}};
  for (const auto& [given, expected] : cases) EXPECT_EQ(shown_path(given), expected) << given;
  std::filesystem::current_path(before);
}

}  // namespace
}  // namespace natrix
