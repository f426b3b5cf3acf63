// Counts what the test program takes from the heap, and lets it fail.
#pragma once

namespace support {

/// Calls of malloc, calloc, realloc and operator new so far, by all threads. Under a sanitizer,
/// which has its own malloc, calls of operator new alone.
long allocations() noexcept;

/// Lets the `number`-th operator new from now throw std::bad_alloc; 0: none.
void fail_allocation(long number) noexcept;

}  // namespace support
