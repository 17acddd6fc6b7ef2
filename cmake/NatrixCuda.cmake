# natrix_add_cuda(TARGET): the files of kernels/cuda, as NATRIX_CUDA decided (cmake/NatrixOptions.cmake).
function(natrix_add_cuda target)
  if(natrix_cuda STREQUAL off)
    target_compile_definitions(${target} PUBLIC NATRIX_BUILD_CUDA=0)
    return()
  endif()
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cu)
  target_sources(${target} PRIVATE ${sources})
  target_compile_definitions(${target} PUBLIC NATRIX_BUILD_CUDA=1)
  if(natrix_cuda STREQUAL on)
    # Not CUDA_STANDARD: CMake 3.25, which is Debian 12's, does not know that nvcc speaks C++20.
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20 --extended-lambda -Xptxas=-v>)
    target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:CUDA::cudart_static> $<BUILD_INTERFACE:CUDA::cublas>)
  else()
    set_source_files_properties(${sources} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++;-Wno-unknown-pragmas")
    target_compile_definitions(${target} PRIVATE NATRIX_CUDA_EMULATED)
    target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:cuda_emulation>)
  endif()
endfunction()

# The library behind NATRIX_CUDA=emulated.
if(natrix_cuda STREQUAL emulated)
  find_package(Boost REQUIRED COMPONENTS context)
  set(emulation ${PROJECT_SOURCE_DIR}/tests/cuda_emulation)
  add_library(cuda_emulation STATIC ${emulation}/block.cpp ${emulation}/cublas.cpp ${emulation}/memory.cpp
                                    ${emulation}/runtime.cpp)
  target_include_directories(cuda_emulation PUBLIC ${emulation})
  target_link_libraries(cuda_emulation PRIVATE Boost::context natrix_flags)
endif()
