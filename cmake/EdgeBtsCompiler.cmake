# edge_bts_compiler(<target>): the language, the warnings and the arithmetic of every target of ours.

function(edge_bts_compiler target)
  target_compile_features(${target} PRIVATE cxx_std_17)
  set_target_properties(${target} PROPERTIES
    CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON)

  if(MSVC)
    # /fp:precise neither contracts nor reorders.
    target_compile_options(${target} PRIVATE /W4 /fp:precise $<$<BOOL:${EDGE_BTS_WERROR}>:/WX>)
    return()
  endif()

  # A fused multiply-add rounds once where the specification of the geometry rounds twice; GCC
  # contracts by default wherever the machine has one (every ARM64, x86-64-v3).
  target_compile_options(${target} PRIVATE
    -ffp-contract=off -fno-fast-math
    -Wall -Wextra -Wpedantic -Wconversion -Wshadow
    $<$<BOOL:${EDGE_BTS_WERROR}>:-Werror>)

  if(EDGE_BTS_SANITIZE)
    target_compile_options(${target} PRIVATE
      -fsanitize=${EDGE_BTS_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
    target_link_options(${target} PRIVATE -fsanitize=${EDGE_BTS_SANITIZE})
  endif()
endfunction()
