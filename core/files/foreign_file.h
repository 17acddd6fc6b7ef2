// Recognises files that are not what a reader expects, such as the results of a failed download or copy
// of a model.
#pragma once

#include <string>
#include <string_view>

namespace natrix {

/// Says what these first bytes are and what to do: "it is a Git LFS pointer …; run `git lfs pull` …". Empty
/// if nothing is recognised. `text` may be the whole file.
std::string looks_foreign(std::string_view text);

}  // namespace natrix
