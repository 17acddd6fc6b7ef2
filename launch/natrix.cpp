// The natrix program, with the layers that Natrix comes with.
#include "launch/program.h"

int main(int argc, char** argv) {
  return natrix::run_program(argc, argv, natrix::builtin_layer_kinds());
}
