#include "core/report/progress.h"

#include <gtest/gtest.h>
#include <vector>

namespace natrix {
namespace {

/// A terminal (or a pipe, with width 0) and a clock that the test turns.
struct Screen {
  double now = 100;
  ProgressStyle style;
  std::vector<std::string> writes;

  ProgressOutput output() {
    return {.write = [this](std::string_view text) { writes.emplace_back(text); },
            .now = [this] { return now; },
            .style = [this] { return style; }};
  }
};

TEST(Progress, AShortTaskShowsNothing) {
  for (const int width : {0, 80}) {
    Screen screen{.style = {.width = width}};
    {
      Progress p("reading", 10, "tokens", {}, screen.output());
      for (int i = 0; i < 10; ++i, screen.now += 0.09) p.advance(1);
    }
    EXPECT_TRUE(screen.writes.empty());
  }
}

TEST(Progress, ABarIsRedrawnTenTimesASecondAndRemovesItself) {
  Screen screen{.style = {.width = 80}};
  {
    Progress p("reading", 3000, "tokens", {}, screen.output());
    for (int i = 0; i < 3000; ++i, screen.now += 0.001) p.advance(1);
    EXPECT_GE(screen.writes.size(), 18u);
    EXPECT_LE(screen.writes.size(), 20u);  // two seconds' worth
    for (const auto& w : screen.writes) {
      EXPECT_TRUE(w.starts_with("\r\033[2Kreading  ")) << w;
      EXPECT_EQ(w.find('\n'), std::string::npos);
    }
  }
  EXPECT_EQ(screen.writes.back(), "\r\033[2K");
}

TEST(Progress, ElsewhereALineEveryTenSecondsAndOneAtTheEnd) {
  Screen screen;
  {
    Progress p("reading", 200, "tokens", {}, screen.output());
    for (int i = 0; i < 200; ++i) {
      screen.now += 0.125;
      p.advance(1);
    }
  }
  EXPECT_EQ(screen.writes, (std::vector<std::string>{
                               "reading: 4% (8/200 tokens), 8 tokens/s, eta 0:24\n",
                               "reading: 44% (88/200 tokens), 8 tokens/s, eta 0:14\n",
                               "reading: 84% (168/200 tokens), 8 tokens/s, eta 0:04\n",
                               "reading: 200/200 tokens in 0:25, 8 tokens/s\n",
                           }));
}

TEST(Progress, ATaskLeftHalfwayIsNotCalledDone) {
  Screen screen;
  {
    Progress p("reading", 100, "tokens", {}, screen.output());
    screen.now += 2;
    p.advance(50);
  }
  EXPECT_EQ(screen.writes.size(), 1u);
}

TEST(Progress, QuietIsQuiet) {
  for (const int width : {0, 80}) {
    Screen screen{.style = {.width = width}};
    {
      Progress p("reading", 2, "tokens", {.quiet = true}, screen.output());
      screen.now += 60;
      p.advance(2);
    }
    EXPECT_TRUE(screen.writes.empty());
  }
}

const ProgressState kState{
    .task = "reading", .unit = "tokens", .done = 420000, .total = 1000000, .seconds = 42};

TEST(ProgressBar, GivesWayToFiguresAndFiguresToTheTask) {
  EXPECT_EQ(render_bar(kState, {.width = 90}),
            "reading  ###########.................   42%  420.0k/1.0M tokens  10.0k tokens/s  eta 0:58");
  EXPECT_EQ(render_bar(kState, {.width = 65}), "reading   42%  420.0k/1.0M tokens  10.0k tokens/s  eta 0:58");
  EXPECT_EQ(render_bar(kState, {.width = 40}), "reading   42%  420.0k/1.0M tokens");
  EXPECT_EQ(render_bar(kState, {.width = 9}), "reading");
  EXPECT_EQ(render_bar(kState, {.width = 5}), "read");
  for (int width = 1; width < 200; ++width) {
    EXPECT_LT(static_cast<int>(render_bar(kState, {.width = width}).size()), width);
  }
}

TEST(ProgressBar, UsesWhatTheTerminalCan) {
  const auto shows = [](const ProgressStyle& style, const char* what) {
    return render_bar(kState, style).find(what) != std::string::npos;
  };
  EXPECT_TRUE(shows({.width = 80, .unicode = true}, "━╌"));
  EXPECT_FALSE(shows({.width = 80, .unicode = true}, "\033["));
  EXPECT_TRUE(shows({.width = 80, .color = true, .unicode = true}, "\033[36m━"));
  EXPECT_TRUE(shows({.width = 80, .color = true}, "\033[36m#"));
}

TEST(ProgressBar, WithoutATotalCountsOn) {
  EXPECT_EQ(render_bar({.task = "listing", .unit = "files", .done = 30, .seconds = 3}, {.width = 80}),
            "listing  30 files  10 files/s");
  EXPECT_EQ(render_line({.task = "listing", .unit = "files", .done = 30, .seconds = 3}),
            "listing: 30 files, 10 files/s");
}

TEST(ProgressBar, SurvivesMoreThanExpectedAndNothingYet) {
  ProgressState s = kState;
  s.done = 1500000;
  EXPECT_NE(render_bar(s, {.width = 80}).find("100%"), std::string::npos);
  s.done = 0;
  EXPECT_NE(render_bar(s, {.width = 90}).find("eta ?"), std::string::npos);
  s.done = 999999;
  EXPECT_NE(render_bar(s, {.width = 80}).find(" 99%"), std::string::npos);  // 100% is for what is done
}

}  // namespace
}  // namespace natrix
