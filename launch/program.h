// The natrix program: parses the command line, runs the chosen command, and turns errors into exit statuses.
//   0   done
//   1   failed: I/O, numerics, a lost rank, or a stdout that cannot be written
//   2   bad usage, configuration or input
//   75  stopped by a signal; everything is saved
#pragma once

#include "launch/layer_kinds.h"

namespace natrix {

/// The body of main(). kinds: the layers that model.pattern can name. A program with layers of its own calls
/// this with its own table; tests/toy_layer/main.cpp does. Call it once per process. Returns the exit status.
int run_program(int argc, char** argv, const LayerKinds& kinds);

}  // namespace natrix
