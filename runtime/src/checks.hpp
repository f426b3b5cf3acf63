// What comes in through the C ABI, checked before anything is done with it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "edge_bts/edge_bts.h"
#include "errors.hpp"
#include "pipeline.hpp"

namespace edge_bts {

inline constexpr std::uint32_t kDefaultComponents = 16;

/// Bytes of a struct as the first header had it: what programs that were built then pass.
template <typename T>
inline constexpr std::size_t kFirstSize = sizeof(T);
template <>
inline constexpr std::size_t kFirstSize<ebts_model_options> = offsetof(ebts_model_options, backend);
template <>
inline constexpr std::size_t kFirstSize<ebts_session_options> =
    offsetof(ebts_session_options, live);
template <>
inline constexpr std::size_t kFirstSize<ebts_frame> = offsetof(ebts_frame, sector);
template <>
inline constexpr std::size_t kFirstSize<ebts_planes> = offsetof(ebts_planes, width);
template <>
inline constexpr std::size_t kFirstSize<ebts_result> = offsetof(ebts_result, wait_ms);

/// Whether `size` is one that a header had or will have.
ebts_status check_size(std::size_t size, std::size_t first, const char* name) noexcept;

/// Refuses a struct that has fields of a later header which are not 0.
ebts_status check_rest(const void* given, std::size_t size, std::size_t known,
                       const char* name) noexcept;

/// Copies a struct in whatever length the caller knows; what it does not know becomes 0.
template <typename T>
ebts_status take(const T* given, const char* name, T& taken) noexcept {
    const std::size_t size = given->struct_size;
    ebts_status status = check_size(size, kFirstSize<T>, name);
    if (status == EBTS_OK) status = check_rest(given, size, sizeof(T), name);
    if (status != EBTS_OK) return status;
    taken = T{};
    std::memcpy(&taken, given, std::min(size, sizeof(T)));
    return EBTS_OK;
}

/// Fills what the caller knows of a struct whose size has been checked.
template <typename T>
void give(T made, T* wanted) noexcept {
    made.struct_size = wanted->struct_size;
    std::memcpy(wanted, &made, std::min(made.struct_size, sizeof(T)));
}

ebts_status check_options(const ebts_model_options& options) noexcept;
ebts_status check_options(const ebts_session_options& options) noexcept;

/// Fills all of `job` but its sequence.
ebts_status check_frame(const ebts_frame& frame, const Limits& limits, Job& job) noexcept;

/// Whether planes fit a frame of that size.
ebts_status check_planes(const ebts_planes& given, int frame_width, int frame_height,
                         Planes& planes) noexcept;

}  // namespace edge_bts
