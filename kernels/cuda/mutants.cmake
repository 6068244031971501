# Kernels with one mistake each, which the tests must find: a mutant is the emulated device compiled from a header in which
# `from` is replaced by `to`, linked with the tests as they are. Its run passes when a test of it fails, or a sanitizer ends it.
#   qzo_cuda_mutant(NAME TEST HEADER from to)
function(qzo_cuda_mutant NAME TEST HEADER FROM TO)
  set(directory ${CMAKE_CURRENT_BINARY_DIR}/mutants/${NAME})
  file(READ ${HEADER} text)
  string(FIND "${text}" "${FROM}" found)
  if(found EQUAL -1)
    message(FATAL_ERROR "${HEADER} has no '${FROM}' for the mutant ${NAME} to change")
  endif()
  string(REPLACE "${FROM}" "${TO}" text "${text}")
  file(CONFIGURE OUTPUT ${directory}/kernels/cuda/${HEADER} CONTENT "${text}" @ONLY)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${HEADER})
  set(target cuda_mutant_${NAME})
  add_executable(${target} host/emulated_gpu.cc $<TARGET_OBJECTS:${TEST}>)
  target_include_directories(${target} BEFORE PRIVATE ${directory})
  target_link_libraries(${target} PRIVATE qzo_emulated_test_gpu qzo_test_support GTest::gmock_main)
  qzo_target(${target})
  target_compile_options(${target} PRIVATE -O1)
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests EXPORT_COMPILE_COMMANDS OFF)
  add_test(NAME ${target} COMMAND ${target} --gtest_fail_fast --gtest_brief=1)
  set_tests_properties(${target} PROPERTIES LABELS unit TIMEOUT 120 
    PASS_REGULAR_EXPRESSION "\\[  FAILED  \\];SUMMARY: AddressSanitizer")
endfunction()

# Barriers and waits
qzo_cuda_mutant(matmul_no_barrier cuda_matmul_test matmul.h "SyncThreads();  // stage i" "// stage i")
qzo_cuda_mutant(matmul_no_wait cuda_matmul_test matmul.h "CopyAsyncWait<L::kStages - 2>" "CopyAsyncWait<L::kStages - 1>")
qzo_cuda_mutant(attention_no_barrier cuda_attention_test attention.h "SyncThreads();  // the tiles" "// the tiles")
# Bounds
qzo_cuda_mutant(matmul_row_bound cuda_matmul_test matmul.h "in_strip >= mine.rows" "in_strip > mine.rows")
qzo_cuda_mutant(matmul_column_bound cuda_matmul_test matmul.h "column < p.w.rows && row" "column <= p.w.rows && row")
qzo_cuda_mutant(attention_mask cuda_attention_test attention.h "at < visible ? score" "at <= visible ? score")
qzo_cuda_mutant(attention_window cuda_attention_test attention.h "at >= hidden" "at > hidden")
qzo_cuda_mutant(update_tensors cuda_noise_test noise.h "first_block <= BlockIndexX()" "first_block < BlockIndexX()")
# Fragments
qzo_cuda_mutant(matmul_fragment cuda_matmul_test matmul.h "MmaBf16(part, a[c][0], x[0], x[1])" "MmaBf16(part, a[c][0], x[1], x[0])")
qzo_cuda_mutant(matmul_bank_exchange cuda_matmul_test matmul.h "(4 * b + lane / 8) ^ (lane % 8)" "(4 * b + lane / 8)")
qzo_cuda_mutant(matmul_nibbles cuda_matmul_test matmul.h "NibblesPlus128(word >> 8)" "NibblesPlus128(word >> 4)")
qzo_cuda_mutant(attention_fragment cuda_attention_test attention.h "2 * d + lane / 16)" "2 * d + lane % 2)")
qzo_cuda_mutant(matmul_book_exchange cuda_matmul_test matmul.h "t / 2) ^ g) * kEntryBytes" "t / 2) ^ (g & 6)) * kEntryBytes")
# State that is carried on
qzo_cuda_mutant(attention_no_rescaling cuda_attention_test attention.h "out[d][2 * r] *= keep" "out[d][2 * r] *= 1.0f")
qzo_cuda_mutant(noise_stale_signs cuda_matmul_test noise.h "index / 32 != signs_of_" "signs_of_ == 0xffffffffu")
