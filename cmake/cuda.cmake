# The CUDA toolkit, where it is found: QZO_CUDA_FOUND. Only CUDA's own language and runtime; nothing needs a GPU to build.
option(QZO_CUDA "Build for NVIDIA GPUs where the CUDA toolkit is found" ON)
set(QZO_CUDA_FOUND OFF)
if(QZO_CUDA)
  find_program(QZO_NVCC nvcc HINTS ENV CUDA_PATH ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
  if(QZO_NVCC)
    set(CMAKE_CUDA_COMPILER ${QZO_NVCC})
    set(CMAKE_CUDA_HOST_COMPILER g++)  # whatever compiles the rest: nvcc 13 does not take every clang
    set(CMAKE_CUDA_ARCHITECTURES OFF)
    # CMake 3.25 knows no CUDA dialect of C++20: the standard is unset, the option given by hand.
    set(CMAKE_CUDA_FLAGS_INIT "-std=c++20")
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    set(QZO_CUDA_FOUND ON)
  endif()
endif()
if(NOT QZO_CUDA_FOUND)
  message(STATUS "No CUDA toolkit: qzo-worker is built for CPUs only")
endif()
