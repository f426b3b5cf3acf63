// Errors of the C ABI: a sentence for each thread, and statuses for what is thrown.
#pragma once

#include <cstddef>
#include <exception>
#include <new>

#include "edge_bts/edge_bts.h"
#include "failure.hpp"

#if defined(__GNUC__)
#define EBTS_PRINTF __attribute__((format(printf, 2, 3)))
#else
#define EBTS_PRINTF
#endif

namespace edge_bts {

inline constexpr std::size_t kMaxSentence = 512;

/// Writes the sentence of this thread; allocates nothing. Returns `status`.
EBTS_PRINTF ebts_status fail(ebts_status status, const char* format, ...) noexcept;

/// The sentence of this thread.
const char* sentence() noexcept;

inline ebts_status fail_null(const char* name) noexcept {
    return fail(EBTS_ERROR_ARGUMENT, "Expected %s, but got NULL; pass its address.", name);
}

/// Runs what may throw.
template <typename Work>
ebts_status guarded(Work work) noexcept {
    try {
        return work();
    } catch (const Failure& failure) {
        return fail(failure.status(), "%s", failure.what());
    } catch (const std::bad_alloc&) {
        return fail(EBTS_ERROR_MEMORY,
                    "Expected enough memory, but there is none left; declare smaller frames or "
                    "close what is not needed.");
    } catch (const std::exception& error) {
        return fail(EBTS_ERROR_INTERNAL, "Expected no error here, but: %s; please report it.",
                    error.what());
    } catch (...) {
        return fail(EBTS_ERROR_INTERNAL, "Expected no error here, but one came; please report it.");
    }
}

}  // namespace edge_bts
