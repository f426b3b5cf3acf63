# edge_bts_find_cuda(): sets EDGE_BTS_CUDA_FOUND and enables the language where nvcc is.
# edge_bts_cuda_compiler(<target>): what every CUDA target of ours is compiled with.

macro(edge_bts_find_cuda)
  set(EDGE_BTS_CUDA_FOUND FALSE)
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(edge_bts_no_architectures TRUE)
      set(CMAKE_CUDA_ARCHITECTURES 87)  # for the compiler check alone
    endif()
    enable_language(CUDA)
    if(edge_bts_no_architectures)
      # Ampere to Hopper with Orin (87); what is newer than this compiler takes the PTX.
      set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 87-real 89-real 90-real)
      if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
        list(APPEND CMAKE_CUDA_ARCHITECTURES 120-real)
      endif()
      if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 13.0)
        list(APPEND CMAKE_CUDA_ARCHITECTURES 110-real)  # Thor
      endif()
      list(APPEND CMAKE_CUDA_ARCHITECTURES 80-virtual)
    endif()
    find_package(CUDAToolkit QUIET)
    if(TARGET CUDA::cudart_static)
      set(EDGE_BTS_CUDA_FOUND TRUE)
    endif()
  endif()
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
