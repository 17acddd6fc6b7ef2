# Optional parts: "auto" takes what is found, "on" insists, "off" leaves it out.
# This version has no CUDA or NCCL sources yet, so there "auto" is "off" and "on" says so.
foreach(part CUDA MPI NCCL)
  set(NATRIX_${part} auto CACHE STRING "${part} support: auto, on or off")
  set_property(CACHE NATRIX_${part} PROPERTY STRINGS auto on off)
  if(NOT NATRIX_${part} MATCHES "^(auto|on|off|emulated|ON|OFF)$")
    message(FATAL_ERROR "NATRIX_${part} is '${NATRIX_${part}}'; it can be auto, on or off")
  endif()
  if(NATRIX_${part} MATCHES "^(on|ON|emulated)$" AND NOT part STREQUAL MPI)
    message(FATAL_ERROR "NATRIX_${part}=${NATRIX_${part}}: this version of Natrix has no ${part} support; use auto or off")
  endif()
endforeach()

# MPI: the C interface of the library that mpicc links. No C++ bindings.
set(NATRIX_HAS_MPI 0)
if(NOT NATRIX_MPI MATCHES "^(off|OFF)$")
  set(MPI_CXX_SKIP_MPICXX ON)
  find_package(MPI COMPONENTS CXX QUIET)
  if(MPI_CXX_FOUND)
    set(NATRIX_HAS_MPI 1)
  elseif(NATRIX_MPI MATCHES "^(on|ON)$")
    message(FATAL_ERROR "NATRIX_MPI=on, but no MPI was found; install libopenmpi-dev and openmpi-bin")
  endif()
endif()
