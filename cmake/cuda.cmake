# Whether there is CUDA to build with: TANDEM_CUDA is then true, and CUDA::cudart and CUDA::cublasLt are there. The
# binary starts without a driver and says so; the two libraries are linked dynamically (cublasLt alone has 541 MB).
set(TANDEM_WITH_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO (where nvcc is found), ON, OFF")
# Machine code for A100 and H100/H200, and PTX that newer devices translate when they first see it.
set(TANDEM_CUDA_ARCHITECTURES "80;90a-real" CACHE STRING "What kernels/ is compiled for, as CMAKE_CUDA_ARCHITECTURES")
set(TANDEM_CUDA FALSE)
if(TANDEM_WITH_CUDA STREQUAL "OFF" OR TANDEM_SANITIZE)
  return()
endif()

set(CMAKE_CUDA_ARCHITECTURES ${TANDEM_CUDA_ARCHITECTURES})
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX} AND EXISTS /usr/local/cuda/bin/nvcc)
  set(CMAKE_CUDA_COMPILER /usr/local/cuda/bin/nvcc)  # often not on the PATH
endif()
include(CheckLanguage)
check_language(CUDA)
find_package(CUDAToolkit QUIET)
if(CMAKE_CUDA_COMPILER AND TARGET CUDA::cublasLt)
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)  # which CMake 3.25 does not know
  endif()
  set(TANDEM_CUDA TRUE)
  set(TANDEM_CUDA_LAUNCHER ${PROJECT_SOURCE_DIR}/tools/gpu/nvcc_logged ${CCACHE})
  if(NOT CCACHE)
    set(TANDEM_CUDA_LAUNCHER ${PROJECT_SOURCE_DIR}/tools/gpu/nvcc_logged)
  endif()
elseif(TANDEM_WITH_CUDA STREQUAL "ON")
  message(FATAL_ERROR "TANDEM_WITH_CUDA is ON, but nvcc and cublasLt were not found: set CUDACXX to the compiler's path")
endif()
message(STATUS "CUDA backend: ${TANDEM_CUDA} (${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION}, ${TANDEM_CUDA_ARCHITECTURES})")
