// Handles stdin, stdout and stderr that are closed, full, or a pipe without a reader.
#pragma once

namespace natrix {

/// Call this at the start of main, before anything is opened. It occupies the descriptor of a closed standard
/// stream, so that no other file gets it. Afterwards a write to a pipe without a reader fails instead of
/// ending the program.
void guard_standard_streams();

/// Call this at the end of a command that writes results to stdout. It flushes them and returns the exit
/// status. A full disk is thereby reported, even though the standard library buffers. A reader that has
/// closed the pipe (natrix … | head) gets no message.
int flush_results(int status);

}  // namespace natrix
