# edge_bts_enable_cuda(): the language CUDA, and the devices that kernels are compiled for.
# edge_bts_cuda_compiler(<target>): what every CUDA target of ours is compiled with.

macro(edge_bts_enable_cuda)
  include(CheckLanguage)
  if(DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(edge_bts_architectures ${CMAKE_CUDA_ARCHITECTURES})
  endif()
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "Expected nvcc for EDGE_BTS_CUDA, but it is not found; install the CUDA "
                        "toolkit or set CMAKE_CUDA_COMPILER.")
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  if(NOT DEFINED edge_bts_architectures)
    # Ampere to Hopper with Orin (87); what this list lacks takes the PTX.
    set(edge_bts_architectures 80-real 86-real 87-real 89-real 90-real 80-virtual)
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
      list(APPEND edge_bts_architectures 120-real)
    endif()
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 13.0)
      list(APPEND edge_bts_architectures 110-real)  # Thor
    endif()
  endif()
  set(CMAKE_CUDA_ARCHITECTURES ${edge_bts_architectures})
endmacro()

function(edge_bts_cuda_compiler target)
  target_compile_features(${target} PRIVATE cxx_std_17 cuda_std_17)
  set_target_properties(${target} PROPERTIES
    CUDA_EXTENSIONS OFF
    CUDA_VISIBILITY_PRESET hidden
    POSITION_INDEPENDENT_CODE ON)
  # As for C++: no fused multiply-add where two roundings are specified.
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false -Xcompiler=-Wall,-Wextra,-Wshadow,-ffp-contract=off>
    $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${EDGE_BTS_WERROR}>>:-Werror=all-warnings>)
endfunction()
