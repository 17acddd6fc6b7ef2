# Optional parts: "auto" takes what is found, "on" insists, "off" leaves it out.
#
# NATRIX_CUDA   on        nvcc compiles kernels/cuda for the architectures in NATRIX_CUDA_ARCHITECTURES
#               auto      on where nvcc and a GPU are found, else off
#               emulated  the host's compiler compiles the same files against tests/cuda_emulation
# NATRIX_NCCL   with CUDA: for several ranks, each with a GPU of its own; emulated where CUDA is
foreach(part CUDA MPI NCCL)
  set(NATRIX_${part} auto CACHE STRING "${part} support: auto, on or off")
  set_property(CACHE NATRIX_${part} PROPERTY STRINGS auto on off)
  if(NOT NATRIX_${part} MATCHES "^(auto|on|off|emulated|ON|OFF)$")
    message(FATAL_ERROR "NATRIX_${part} is '${NATRIX_${part}}'; it can be auto, on or off")
  endif()
endforeach()
foreach(part MPI NCCL)
  if(NATRIX_${part} STREQUAL emulated)
    message(FATAL_ERROR "NATRIX_${part} is 'emulated'; it can be auto, on or off")
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

set_property(CACHE NATRIX_CUDA PROPERTY STRINGS auto on off emulated)
set(NATRIX_CUDA_ARCHITECTURES "80;90a;100" CACHE STRING "GPU architectures to compile for")
string(TOLOWER "${NATRIX_CUDA}" natrix_cuda)  # as decided: on, off or emulated
find_program(natrix_nvcc nvcc HINTS /usr/local/cuda/bin)
mark_as_advanced(natrix_nvcc)
if(natrix_cuda STREQUAL auto)
  if(natrix_nvcc AND EXISTS /dev/nvidiactl)
    set(natrix_cuda on)
  else()
    set(natrix_cuda off)
  endif()
endif()
if(natrix_cuda STREQUAL on)
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX} AND natrix_nvcc)
    set(CMAKE_CUDA_COMPILER ${natrix_nvcc})
  endif()
  set(CMAKE_CUDA_ARCHITECTURES ${NATRIX_CUDA_ARCHITECTURES})
  enable_language(CUDA)
  if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25, Debian 12's, does not know that nvcc speaks C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  find_package(CUDAToolkit REQUIRED)
endif()
message(STATUS "CUDA: ${natrix_cuda}")
