// docs/config.md holds the reference that the list of fields prints. To bring it up to date:
//
//   NATRIX_UPDATE_DOCS=1 build/release/tests/test_configs --gtest_filter='Reference.*'
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

#include "configs/schema/field.h"
#include "configs/schema/load.h"

namespace natrix {
namespace {

const std::string kDocument = NATRIX_SOURCE_DIR "/docs/config.md";
const std::string kMark = "<!-- From here on printed by the program's own list of keys; do not edit. -->\n";

TEST(Reference, TheDocumentIsUpToDate) {
  std::ifstream in(kDocument);
  ASSERT_TRUE(in) << kDocument;
  std::ostringstream read;
  read << in.rdbuf();
  const std::string text = read.str();
  const size_t mark = text.find(kMark);
  ASSERT_NE(mark, std::string::npos);
  const std::string fresh = text.substr(0, mark + kMark.size()) + "\n" + config_reference();
  if (std::getenv("NATRIX_UPDATE_DOCS") != nullptr) {
    std::ofstream(kDocument) << fresh;
  } else {
    EXPECT_TRUE(text == fresh) << "docs/config.md is stale; the head of this test says how to rewrite it";
  }
}

TEST(Reference, HasEveryKeyWithAMeaning) {
  ExperimentConfig config;
  const std::string text = config_reference();
  for (const Field& f : fields_of(config)) {
    EXPECT_NE(text.find("| `" + f.key.substr(f.key.rfind('.') + 1) + "` |"), std::string::npos) << f.key;
    EXPECT_FALSE(f.help.empty()) << f.key;
    EXPECT_FALSE(f.expects.empty()) << f.key;
    EXPECT_EQ(f.help.find('|'), std::string::npos) << f.key << ": would break the table";
  }
}

}  // namespace
}  // namespace natrix
