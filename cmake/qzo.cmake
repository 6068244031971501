# Flags, warnings and sanitizers, once, and the functions every folder uses:
#   qzo_library(NAME SRCS … [DEPS …] [PRIVATE_DEPS …])   static library; DEPS are public
#   qzo_executable(NAME SRCS … DEPS …)
#   qzo_test(NAME SRCS … DEPS … [LABELS unit|integration|slow|gpu] [TIMEOUT seconds] [ENV a=b …])
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()
find_program(QZO_CCACHE ccache)
if(QZO_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Without these two, ccache finds nothing again from another build directory.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${QZO_CCACHE})
endif()

# Contraction is off because replicas must agree bit for bit: an fma is written where one is meant.
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off$<SEMICOLON>-fno-math-errno$<SEMICOLON>-g1>)
if(QZO_SANITIZE)
  add_compile_options(
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${QZO_SANITIZE}$<SEMICOLON>-fno-sanitize-recover=all$<SEMICOLON>-fno-omit-frame-pointer>)
  add_link_options(-fsanitize=${QZO_SANITIZE})
endif()
if(QZO_COVERAGE)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:--coverage>)
  add_link_options(--coverage)
endif()

add_library(qzo_warnings INTERFACE)
# -Wrestrict misfires on std::string + in g++ 12 (GCC bug 105651); members left out of a designated initializer have defaults.
target_compile_options(qzo_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Werror -Wno-missing-field-initializers
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>)

function(qzo_target NAME)
  target_include_directories(${NAME} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${NAME} PRIVATE qzo_warnings)
endfunction()

function(qzo_library NAME)
  cmake_parse_arguments(A "" "" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${NAME} STATIC ${A_SRCS})
  target_link_libraries(${NAME} PUBLIC ${A_DEPS} PRIVATE ${A_PRIVATE_DEPS})
  qzo_target(${NAME})
endfunction()

function(qzo_executable NAME)
  cmake_parse_arguments(A "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${NAME} ${A_SRCS})
  target_link_libraries(${NAME} PRIVATE ${A_DEPS})
  qzo_target(${NAME})
  set_target_properties(${NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
endfunction()

function(qzo_test NAME)
  if(NOT QZO_TESTS)
    return()
  endif()
  cmake_parse_arguments(A "" "TIMEOUT" "SRCS;DEPS;LABELS;ENV" ${ARGN})
  if(NOT A_LABELS)
    set(A_LABELS unit)
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 120)
  endif()
  add_executable(${NAME} ${A_SRCS})
  target_link_libraries(${NAME} PRIVATE ${A_DEPS} GTest::gmock_main)
  qzo_target(${NAME})
  target_compile_options(${NAME} PRIVATE $<$<CONFIG:Release>:-O1>)  # what is tested is in the libraries: a third less to compile
  set_target_properties(${NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${NAME} COMMAND ${NAME})
  set_tests_properties(${NAME} PROPERTIES LABELS "${A_LABELS}" TIMEOUT ${A_TIMEOUT}
    ENVIRONMENT "QZO_SOURCE_DIR=${CMAKE_SOURCE_DIR};QZO_BIN_DIR=${CMAKE_BINARY_DIR}/bin;${A_ENV}")
endfunction()
