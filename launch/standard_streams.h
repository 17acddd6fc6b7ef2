// stdin, stdout and stderr as the program may find them: closed, full, or a pipe that nobody reads any more.
#pragma once

namespace natrix {

/// At the start of main, before anything is opened: a closed standard stream keeps its descriptor, so that no
/// file of ours is opened there, and a write to a pipe without a reader fails instead of ending the program.
void guard_standard_streams();

/// At the end: the status of a command whose results are on stdout. A full disk must not go unnoticed behind
/// the standard library's buffer. A reader that has left (natrix … | head) knows that it did: no word then.
int flush_results(int status);

}  // namespace natrix
