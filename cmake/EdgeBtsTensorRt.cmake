# edge_bts_find_tensorrt(): headers and library of TensorRT 10 or 11, with the CUDA runtime. Sets
#   EDGE_BTS_TENSORRT_HEADERS  the backend can be compiled, and tested against fakes
#   EDGE_BTS_TENSORRT_FOUND    it can be linked: libedge_bts gets it
# and the targets EdgeBts::tensorrt_headers and EdgeBts::tensorrt.

macro(edge_bts_find_tensorrt)
  set(TENSORRT_ROOT "" CACHE PATH "Folder with include/NvInferRuntime.h and lib/libnvinfer.so")
  set(EDGE_BTS_TENSORRT_HEADERS FALSE)
  set(EDGE_BTS_TENSORRT_FOUND FALSE)
  find_path(EDGE_BTS_TENSORRT_INCLUDE NvInferRuntime.h HINTS "${TENSORRT_ROOT}/include"
            DOC "Folder of NvInferRuntime.h")
  find_library(EDGE_BTS_TENSORRT_LIBRARY nvinfer
               HINTS "${TENSORRT_ROOT}/lib" "${TENSORRT_ROOT}/lib64" DOC "libnvinfer")
  find_package(CUDAToolkit QUIET)
  if(EDGE_BTS_TENSORRT_INCLUDE AND CUDAToolkit_FOUND)
    set(EDGE_BTS_TENSORRT_HEADERS TRUE)
    add_library(EdgeBts::tensorrt_headers INTERFACE IMPORTED)
    target_include_directories(EdgeBts::tensorrt_headers SYSTEM INTERFACE
      "${EDGE_BTS_TENSORRT_INCLUDE}" ${CUDAToolkit_INCLUDE_DIRS})
    if(EDGE_BTS_TENSORRT_LIBRARY AND TARGET CUDA::cudart_static)
      set(EDGE_BTS_TENSORRT_FOUND TRUE)
      add_library(EdgeBts::tensorrt INTERFACE IMPORTED)
      target_link_libraries(EdgeBts::tensorrt INTERFACE
        EdgeBts::tensorrt_headers "${EDGE_BTS_TENSORRT_LIBRARY}" CUDA::cudart_static)
    endif()
  endif()
endmacro()
