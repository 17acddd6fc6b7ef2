// JSON that others wrote: where an error is, and the numbers that Python's json writes beyond the standard.
#include "core/files/json.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "kernels/base/check.h"
#include "tests/core/io_helpers.h"

namespace natrix {
namespace {

using nlohmann::json;
using test::mentions;
using test::message_of;

json tagged(const std::string& text) {
  return parse_json(text, "file", NonFinite::kTagged);
}

std::string refusal(const std::string& text, NonFinite non_finite) {
  return message_of<InputError>([&] { parse_json(text, "file", non_finite); });
}

TEST(Json, NumbersThatAreNotFiniteAreTagged) {
  const auto tag = [](const char* word) { return json{{"__float__", word}}; };
  EXPECT_EQ(tagged(R"({"a": Infinity,"b":-Infinity , "c":NaN})"),
            (json{{"a", tag("Infinity")}, {"b", tag("-Infinity")}, {"c", tag("NaN")}}));
  EXPECT_EQ(tagged("[Infinity,[NaN]]"), json::array({tag("Infinity"), json::array({tag("NaN")})}));
  EXPECT_EQ(tagged("NaN"), tag("NaN"));
  EXPECT_EQ(tagged(R"({"a": {"__float__": "Infinity"}})"), tagged(R"({"a": Infinity})"));
  for (const char* word : {"Infinity", "-Infinity", "NaN"}) {
    EXPECT_TRUE(mentions(refusal(word, NonFinite::kRefused), "file: not valid JSON at line 1")) << word;
  }
}

TEST(Json, TextsKeepTheirWords) {
  for (const std::string text :
       {R"("NaN")", R"("a NaN and -Infinity")", R"("\"Infinity")", R"("\\")", R"("\\\"NaN")",
        R"({"NaN": "Infinity", "a\"NaN": ["\\", "NaN\\"]})", "\"\xc3\xa9 NaN\""}) {
    EXPECT_EQ(tagged(text), json::parse(text)) << text;
  }
}

TEST(Json, TheWordsInOtherPlacesAreErrors) {
  for (const char* text :
       {"{NaN: 1}",   "{Infinity}",  "NaNNaN",     "[NaN NaN]", "NaN1",  "1NaN",    "--Infinity",
        "- Infinity", "+Infinity",   "Infinity.5", "infinity",  "nan",   "Infinit", "-NaN",
        "[NaN,]",     "{\"a\" NaN}", "\"a\"NaN",   "NaN\"a\"",  "\"NaN", "nullNaN"}) {
    EXPECT_TRUE(mentions(refusal(text, NonFinite::kTagged), "file: not valid JSON at line 1")) << text;
  }
}

TEST(Json, ErrorsSayLineAndColumn) {
  struct Bad {
    std::string text;
    const char* place;
  };
  const Bad cases[] = {{"{oops", "line 1, column 2,"},
                       {"{\n  \"a\": 1,\n  \"b\": oops\n}", "line 3, column 8,"},
                       {"{\n\"a\": [1,\n2 3]}", "line 3, column 3,"},
                       {"{\n", "line 2, column 1,"},
                       {"{\"a\": NaN, \"b\": oops}", "line 1, column 17,"},
                       {"{\"a\": -Infinity,\n\"b\": NaN, oops}", "line 2, column 11,"}};
  for (const Bad& bad : cases) {
    EXPECT_TRUE(mentions(refusal(bad.text, NonFinite::kTagged), bad.place)) << bad.text;
    if (bad.text.find("NaN") == std::string::npos) {
      EXPECT_TRUE(mentions(refusal(bad.text, NonFinite::kRefused), bad.place)) << bad.text;
    }
  }
}

TEST(Json, OtherFilesAreRecognised) {
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n";
  for (const NonFinite n : {NonFinite::kRefused, NonFinite::kTagged}) {
    EXPECT_TRUE(mentions(refusal(pointer, n), "file: not valid JSON: it is a Git LFS pointer"));
    EXPECT_TRUE(mentions(refusal(pointer, n), "git lfs pull"));
    EXPECT_TRUE(mentions(refusal("<!DOCTYPE html>", n), "HTML"));
    EXPECT_TRUE(mentions(refusal("", n), "empty"));
  }
  EXPECT_EQ(tagged(R"({"a": "version https://git-lfs.github.com/spec/v1"})").size(), 1u);
}

TEST(JsonObject, WantsFiniteNumbers) {
  const json whole =
      tagged(R"({"inf": Infinity, "tag": {"__float__": "-Infinity"}, "other": {"__float__": 1}, "x": 2})");
  const JsonObject object(whole, "file");
  const auto error = [&](const char* key) {
    return message_of<InputError>([&] { object.number(key, 0, 1e300); });
  };
  EXPECT_TRUE(mentions(error("inf"), "file: key \"inf\" is Infinity; expected a number from 0"));
  EXPECT_TRUE(mentions(error("tag"), "is -Infinity;"));
  EXPECT_TRUE(mentions(error("other"), "is an object;"));
  EXPECT_EQ(object.number("x", 0, 3), 2);
  EXPECT_TRUE(mentions(message_of<InputError>([&] { object.integer("inf", 0, 3); }), "is Infinity;"));
}

}  // namespace
}  // namespace natrix
