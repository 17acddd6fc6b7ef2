# natrix_library(FOLDER …): one static library for one folder of the tree.
# A new source file is picked up by itself; a new folder is a line in the top-level CMakeLists.txt.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

add_library(natrix_flags INTERFACE)
# Kernels are called with designated initialisers; what is not named is empty by design.
target_compile_options(natrix_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wconversion
                       -Wno-missing-field-initializers $<$<BOOL:${NATRIX_WERROR}>:-Werror>>
                       $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers>)
# Bit-for-bit repeatability: the compiler may not contract a*b+c as it pleases in one build and not in another.
target_compile_options(natrix_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
if(CMAKE_UNITY_BUILD)  # where every file is an included one, of which that warning thinks as of headers
  target_compile_options(natrix_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 16)
  # Clang 14 and 15 cannot read the std::source_location of g++ 12's library.
  target_include_directories(natrix_flags SYSTEM BEFORE INTERFACE ${PROJECT_SOURCE_DIR}/tests/fuzz/compat)
endif()
if(NATRIX_SANITIZE)  # under which GCC takes members that are set for ones that may not be
  target_compile_options(natrix_flags INTERFACE -fsanitize=${NATRIX_SANITIZE} -fno-omit-frame-pointer
                         $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_link_options(natrix_flags INTERFACE -fsanitize=${NATRIX_SANITIZE})
endif()

# Only kernels/ computes. Elsewhere -O3 would buy nothing and cost minutes: the time goes to header-only libraries.
function(natrix_optimise target level)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release,RelWithDebInfo>:${level}>)
endfunction()

# Unity builds compile up to eight files of one folder together, so that a new file rebuilds nothing but its folder.
function(natrix_group_by_folder target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD_MODE GROUP)
  foreach(source IN LISTS ARGN)
    cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE name)
    cmake_path(GET name PARENT_PATH folder)
    string(MAKE_C_IDENTIFIER ${folder} folder)
    if(NOT DEFINED count_${folder})
      set(count_${folder} 0)
    endif()
    math(EXPR group "${count_${folder}} / 8")
    math(EXPR count_${folder} "${count_${folder}} + 1")
    set_source_files_properties(${source} TARGET_DIRECTORY ${target} PROPERTIES UNITY_GROUP ${folder}_${group})
  endforeach()
endfunction()

function(natrix_library folder)
  cmake_parse_arguments(arg "" "" "PUBLIC;PRIVATE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.cpp)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.h)
  add_library(natrix_${folder} STATIC ${sources} ${headers})
  target_include_directories(natrix_${folder} PUBLIC ${PROJECT_SOURCE_DIR})
  target_compile_features(natrix_${folder} PUBLIC cxx_std_20)
  target_link_libraries(natrix_${folder} PUBLIC ${arg_PUBLIC} PRIVATE ${arg_PRIVATE} $<BUILD_INTERFACE:natrix_flags>)
  if(folder STREQUAL "kernels")
    set_target_properties(natrix_kernels PROPERTIES UNITY_BUILD OFF)  # a file includes itself for each instruction set
  else()
    natrix_group_by_folder(natrix_${folder} ${sources})
    natrix_optimise(natrix_${folder} -O1)
  endif()
endfunction()
