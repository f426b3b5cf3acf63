# edge_bts_find_runtime(): what the library needs (libsodium, nlohmann-json) and may have
# (OpenVINO, which the Python module needs too). Sets EDGE_BTS_RUNTIME_MISSING, empty where all that
# is needed is here, and the targets EdgeBts::sodium, nlohmann_json::nlohmann_json and, if it is
# found, openvino::runtime.

# The wheel of OpenVINO carries headers, libraries and a CMake package; ask Python where. In an
# isolated build of pip the wheel of the environment counts, beside which ours will lie, before the
# one that was installed for the build.
function(edge_bts_find_openvino_wheel)
  if(SKBUILD)
    set(EDGE_BTS_PYTHON "${Python_EXECUTABLE}")
  endif()
  find_program(EDGE_BTS_PYTHON NAMES python3 python DOC "Python whose OpenVINO wheel is looked for")
  if(NOT EDGE_BTS_PYTHON)
    return()
  endif()
  execute_process(
    COMMAND "${EDGE_BTS_PYTHON}" -c
      "import importlib.util as u, pathlib as p, sysconfig as s
beside = p.Path(s.get_path('platlib'), 'openvino')
print((beside if beside.is_dir() else p.Path(u.find_spec('openvino').origin).parent) / 'cmake')"
    OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed AND EXISTS "${folder}/OpenVINOConfig.cmake")
    set(OpenVINO_DIR "${folder}" CACHE PATH "Folder of OpenVINOConfig.cmake" FORCE)
  endif()
endfunction()

macro(edge_bts_find_runtime)
  set(EDGE_BTS_RUNTIME_MISSING "")

  find_path(EDGE_BTS_SODIUM_INCLUDE sodium.h DOC "Folder of sodium.h")
  find_library(EDGE_BTS_SODIUM_LIBRARY sodium DOC "libsodium")
  if(EDGE_BTS_SODIUM_INCLUDE AND EDGE_BTS_SODIUM_LIBRARY)
    add_library(EdgeBts::sodium UNKNOWN IMPORTED)
    set_target_properties(EdgeBts::sodium PROPERTIES
      IMPORTED_LOCATION "${EDGE_BTS_SODIUM_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${EDGE_BTS_SODIUM_INCLUDE}")
  else()
    list(APPEND EDGE_BTS_RUNTIME_MISSING "libsodium (Debian, Ubuntu: libsodium-dev)")
  endif()

  find_package(nlohmann_json 3.7 QUIET)
  if(NOT nlohmann_json_FOUND)
    list(APPEND EDGE_BTS_RUNTIME_MISSING "nlohmann-json (Debian, Ubuntu: nlohmann-json3-dev)")
  endif()

  if(NOT UNIX OR APPLE)
    list(APPEND EDGE_BTS_RUNTIME_MISSING "Linux")
  endif()

  # Python's module lies beside the wheel and takes it; else the system's comes first.
  if(NOT SKBUILD)
    find_package(OpenVINO QUIET COMPONENTS Runtime)
  endif()
  if(NOT OpenVINO_FOUND)
    edge_bts_find_openvino_wheel()
    find_package(OpenVINO QUIET COMPONENTS Runtime)
  endif()
  if(SKBUILD AND NOT OpenVINO_FOUND)
    list(APPEND EDGE_BTS_RUNTIME_MISSING "OpenVINO (pip install openvino)")
  endif()
endmacro()
