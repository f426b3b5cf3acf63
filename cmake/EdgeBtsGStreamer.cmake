# edge_bts_find_gstreamer(): GStreamer with its video library. Sets EDGE_BTS_GST_FOUND, and makes the
# target PkgConfig::EDGE_BTS_GST.

macro(edge_bts_find_gstreamer)
  set(EDGE_BTS_GST_FOUND FALSE)
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    # 1.20 (Ubuntu 22.04, JetPack 6) is the first with metas that hold a structure.
    pkg_check_modules(EDGE_BTS_GST QUIET IMPORTED_TARGET gstreamer-1.0>=1.20 gstreamer-video-1.0)
  endif()
endmacro()
