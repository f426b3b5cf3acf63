#include "allocations.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

// A sanitizer has a malloc of its own.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define EBTS_OWN_MALLOC 1
#else
#define EBTS_OWN_MALLOC 0
#endif

namespace {

std::atomic<long> taken{0};
std::atomic<long> until_failure{0};

void* take(std::size_t size) {
    if (until_failure > 0 && --until_failure == 0) throw std::bad_alloc();
#if !EBTS_OWN_MALLOC
    ++taken;
#endif
    void* memory = std::malloc(size == 0 ? 1 : size);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

}  // namespace

namespace support {

long allocations() noexcept {
    return taken;
}

void fail_allocation(long number) noexcept {
    until_failure = number;
}

}  // namespace support

void* operator new(std::size_t size) {
    return take(size);
}
void* operator new[](std::size_t size) {
    return take(size);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete[](void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
    std::free(memory);
}

#if EBTS_OWN_MALLOC
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);

void* malloc(std::size_t size) {
    ++taken;
    return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
    ++taken;
    return __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) {
    ++taken;
    return __libc_realloc(memory, size);
}
}
#endif
