// The natrix program with the toy layers: letters T and P.
#include "launch/program.h"
#include "tests/toy_layer/decay_layer.h"

int main(int argc, char** argv) {
  return natrix::run_program(argc, argv, natrix::test::toy_kinds());
}
