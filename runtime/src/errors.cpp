#include "errors.hpp"

#include <cstdarg>
#include <cstdio>

namespace edge_bts {
namespace {

thread_local char last_error[kMaxSentence] = "";

}  // namespace

ebts_status fail(ebts_status status, const char* format, ...) noexcept {
    va_list values;
    va_start(values, format);
    std::vsnprintf(last_error, sizeof last_error, format, values);
    va_end(values);
    return status;
}

const char* sentence() noexcept {
    return last_error;
}

}  // namespace edge_bts
