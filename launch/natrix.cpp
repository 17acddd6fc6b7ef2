// The natrix program with the built-in layers.
#include "launch/program.h"

int main(int argc, char** argv) {
  return natrix::run_program(argc, argv, natrix::builtin_layer_kinds());
}
