# Optional parts: "auto" takes what is found, "on" insists, "off" leaves it out.
# This version has no CUDA, MPI or NCCL sources yet, so "auto" is "off" and "on" says so.
foreach(part CUDA MPI NCCL)
  set(NATRIX_${part} auto CACHE STRING "${part} support: auto, on or off")
  set_property(CACHE NATRIX_${part} PROPERTY STRINGS auto on off)
  if(NOT NATRIX_${part} MATCHES "^(auto|on|off|emulated|ON|OFF)$")
    message(FATAL_ERROR "NATRIX_${part} is '${NATRIX_${part}}'; it can be auto, on or off")
  endif()
  if(NATRIX_${part} MATCHES "^(on|ON|emulated)$")
    message(FATAL_ERROR "NATRIX_${part}=${NATRIX_${part}}: this version of Natrix has no ${part} support; use auto or off")
  endif()
endforeach()
