// What a file looks like that is not what a reader needs: the usual ways in which a download or a copy of a
// model goes wrong.
#pragma once

#include <string>
#include <string_view>

namespace natrix {

/// What these first bytes are, and what to do: "it is a Git LFS pointer …; run `git lfs pull` …". Empty where
/// nothing is recognised. `text` may be the whole file.
std::string looks_foreign(std::string_view text);

}  // namespace natrix
