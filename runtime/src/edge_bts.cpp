// The C ABI: checks what comes in, and turns what is thrown into a status.
#include "edge_bts/edge_bts.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "failure.hpp"
#include "gray.hpp"
#include "pipeline.hpp"

#define EBTS_TEXT(value) #value
#define EBTS_DOTTED(a, b, c) EBTS_TEXT(a) "." EBTS_TEXT(b) "." EBTS_TEXT(c)

using edge_bts::Failure;
using edge_bts::Job;
using edge_bts::kMaxSize;
using edge_bts::Limits;

struct ebts_session {
    ebts_session(std::shared_ptr<const edge_bts::Model> model, const Limits& limits)
        : pipeline(std::move(model), limits) {}

    edge_bts::Pipeline pipeline;
    std::atomic_flag busy = ATOMIC_FLAG_INIT;
};

namespace {

constexpr std::uint32_t kDefaultComponents = 16;
constexpr std::uint32_t kMaxComponents = 65536;
constexpr std::size_t kMaxStruct = 4096;

thread_local char last_error[512] = "";

/// Writes the sentence; allocates nothing. Returns `status`.
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
ebts_status fail(ebts_status status, const char* format, ...) noexcept {
    va_list values;
    va_start(values, format);
    std::vsnprintf(last_error, sizeof last_error, format, values);
    va_end(values);
    return status;
}

ebts_status fail_null(const char* name) noexcept {
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

ebts_status check_size(std::size_t size, std::size_t least, const char* name) noexcept {
    if (size >= least && size <= kMaxStruct) return EBTS_OK;
    return fail(EBTS_ERROR_ARGUMENT,
                "Expected struct_size of %s to be its sizeof, but got %zu; set it before the call.",
                name, size);
}

/// Copies a struct in whatever length the caller knows. Fields of a later header must be 0.
template <typename T>
ebts_status take(const T* given, const char* name, T& taken) noexcept {
    const ebts_status status = check_size(given->struct_size, sizeof(T), name);
    if (status != EBTS_OK) return status;
    const auto* bytes = reinterpret_cast<const unsigned char*>(given);
    if (std::any_of(bytes + sizeof(T), bytes + given->struct_size,
                    [](unsigned char byte) { return byte != 0; })) {
        return fail(EBTS_ERROR_ARGUMENT,
                    "Expected %s without fields that edge-bts %s does not know, but one is set; "
                    "install a newer library.",
                    name, ebts_version());
    }
    std::memcpy(&taken, given, sizeof(T));
    return EBTS_OK;
}

/// Whoever holds it is alone in the session.
class Turn {
  public:
    explicit Turn(ebts_session& session) noexcept
        : session_(session), mine_(!session.busy.test_and_set(std::memory_order_acquire)) {}
    ~Turn() {
        if (mine_) session_.busy.clear(std::memory_order_release);
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    explicit operator bool() const noexcept { return mine_; }

  private:
    ebts_session& session_;
    bool mine_;
};

ebts_status fail_busy() noexcept {
    return fail(EBTS_ERROR_BUSY,
                "Expected a session that is free, but another thread is in it; make one for each.");
}

edge_bts::Trust trust_of(const ebts_model_options& options) {
    edge_bts::Trust trust;
    trust.allow_unsigned = options.allow_unsigned != 0;
    for (std::size_t i = 0; i < options.key_count; ++i) {
        edge_bts::PublicKey key{};
        std::copy_n(options.keys + i * key.size(), key.size(), key.begin());
        trust.keys.push_back(key);
    }
    for (std::size_t i = 0; i < options.key_file_count; ++i) {
        if (options.key_files[i] == nullptr) {
            throw Failure(EBTS_ERROR_ARGUMENT,
                          "Expected the path of a key, but got NULL; pass as many as "
                          "key_file_count says.");
        }
        trust.keys.push_back(edge_bts::load_public_key(options.key_files[i]));
    }
    return trust;
}

edge_bts::Choice choice_of(const ebts_model_options& options) {
    const std::string backend = options.backend == nullptr ? "" : options.backend;
    const std::string engines = options.engine_folder == nullptr ? "" : options.engine_folder;
    if (!backend.empty() && backend != "openvino" && backend != "tensorrt") {
        throw Failure(EBTS_ERROR_ARGUMENT, "Expected the backend openvino or tensorrt, but got " +
                                               backend + "; NULL stands for openvino.");
    }
    if (backend == "tensorrt" && engines.empty()) {
        throw Failure(EBTS_ERROR_ARGUMENT,
                      "Expected engine_folder for tensorrt, but got none; pass the folder in which "
                      "`edge-bts build --cache` left the engine.");
    }
    return {backend, options.threads, engines};
}

ebts_status check_options(const ebts_model_options& options) noexcept {
    if (options.key_count > 0 && options.keys == nullptr) return fail_null("keys");
    if (options.key_file_count > 0 && options.key_files == nullptr) return fail_null("key_files");
    if (options.threads > 1024) {
        return fail(EBTS_ERROR_ARGUMENT,
                    "Expected at most 1024 threads, but got %u; 0 leaves it to the backend.",
                    options.threads);
    }
    return EBTS_OK;
}

bool is_side(std::uint32_t side) noexcept {
    return side >= 1 && side <= static_cast<std::uint32_t>(kMaxSize);
}

ebts_status check_options(const ebts_session_options& options) noexcept {
    if (!is_side(options.max_width) || !is_side(options.max_height)) {
        return fail(EBTS_ERROR_ARGUMENT,
                    "Expected max_width and max_height between 1 and %d pixels, but got %u and %u; "
                    "declare the largest frame that will come.",
                    kMaxSize, options.max_width, options.max_height);
    }
    if (options.max_components > kMaxComponents) {
        return fail(EBTS_ERROR_ARGUMENT,
                    "Expected at most %u components, but got %u; 0 stands for %u.", kMaxComponents,
                    options.max_components, kDefaultComponents);
    }
    return EBTS_OK;
}

/// Whether rows of `bytes` fit in `pitch`, and all rows in the address space.
bool fits(std::size_t pitch, std::size_t bytes, std::uint32_t height) noexcept {
    return pitch >= bytes && pitch <= static_cast<std::size_t>(PTRDIFF_MAX) / height;
}

ebts_status check_frame(const ebts_frame& frame, const Limits& limits, Job& job) noexcept {
    if (frame.data == nullptr) return fail_null("data of the frame");
    const std::size_t bytes = edge_bts::pixel_bytes(frame.format);
    if (bytes == 0) {
        return fail(EBTS_ERROR_FRAME,
                    "Expected an ebts_format, but got %u; take EBTS_GRAY8 for "
                    "8-bit gray.",
                    frame.format);
    }
    if (frame.width == 0 || frame.height == 0) {
        return fail(EBTS_ERROR_FRAME, "Expected a frame with pixels, but got %u x %u; skip it.",
                    frame.width, frame.height);
    }
    if (frame.width > static_cast<std::uint32_t>(limits.max_width) ||
        frame.height > static_cast<std::uint32_t>(limits.max_height)) {
        return fail(EBTS_ERROR_TOO_LARGE,
                    "Expected a frame of at most %d x %d, but got %u x %u; declare more when the "
                    "session is created.",
                    limits.max_width, limits.max_height, frame.width, frame.height);
    }
    const std::size_t row = bytes * frame.width;
    const std::size_t pitch = frame.pitch == 0 ? row : frame.pitch;
    const bool wide = frame.format == EBTS_GRAY16;
    if (!fits(pitch, row, frame.height) ||
        (wide && (pitch % 2 != 0 || reinterpret_cast<std::uintptr_t>(frame.data) % 2 != 0))) {
        return fail(EBTS_ERROR_FRAME,
                    "Expected a pitch of at least %zu bytes (GRAY16: even, like the address), but "
                    "got %zu; 0 means rows without a gap.",
                    row, frame.pitch);
    }
    if (frame.gray16_white > 65535) {
        return fail(EBTS_ERROR_FRAME,
                    "Expected gray16_white up to 65535, but got %u; 0 stands for 65535.",
                    frame.gray16_white);
    }
    if (!std::isfinite(frame.mm_per_pixel) || frame.mm_per_pixel < 0) {
        return fail(EBTS_ERROR_FRAME,
                    "Expected mm_per_pixel above 0, but got %g; 0 says that it is unknown.",
                    frame.mm_per_pixel);
    }
    job.pixels = static_cast<const std::uint8_t*>(frame.data);
    job.pitch = pitch;
    job.height = static_cast<int>(frame.height);
    job.width = static_cast<int>(frame.width);
    job.format = frame.format;
    job.white = frame.gray16_white == 0 ? 65535 : frame.gray16_white;
    job.mm = frame.mm_per_pixel;
    return EBTS_OK;
}

ebts_status check_roi(const ebts_rect& roi, Job& job) noexcept {
    if (roi.x == 0 && roi.y == 0 && roi.width == 0 && roi.height == 0) {
        job.roi = {0, 0, job.width, job.height};
        return EBTS_OK;
    }
    // No sum: it could overflow.
    if (roi.x < 0 || roi.y < 0 || roi.width < 1 || roi.height < 1 || roi.width > job.width ||
        roi.height > job.height || roi.x > job.width - roi.width ||
        roi.y > job.height - roi.height) {
        return fail(EBTS_ERROR_FRAME,
                    "Expected a roi within the frame of %d x %d, but got %d x %d at (%d, %d); all "
                    "0 stands for the whole frame.",
                    job.width, job.height, roi.width, roi.height, roi.x, roi.y);
    }
    job.roi = roi;
    return EBTS_OK;
}

ebts_status check_planes(const ebts_planes& planes, Job& job) noexcept {
    const auto width = static_cast<std::size_t>(job.width);
    const auto height = static_cast<std::uint32_t>(job.height);
    job.mask = planes.mask;
    job.mask_pitch = planes.mask_pitch == 0 ? width : planes.mask_pitch;
    if (job.mask != nullptr && !fits(job.mask_pitch, width, height)) {
        return fail(EBTS_ERROR_PLANE,
                    "Expected a mask_pitch of at least %zu bytes, but got %zu; 0 means rows "
                    "without a gap.",
                    width, planes.mask_pitch);
    }
    const std::size_t row = width * sizeof(float);
    const std::size_t pitch = planes.probability_pitch == 0 ? row : planes.probability_pitch;
    job.probability = planes.probability;
    job.probability_pitch = pitch / sizeof(float);
    if (job.probability != nullptr &&
        (!fits(pitch, row, height) || pitch % sizeof(float) != 0 ||
         reinterpret_cast<std::uintptr_t>(planes.probability) % alignof(float) != 0)) {
        return fail(EBTS_ERROR_PLANE,
                    "Expected an aligned probability and a pitch of at least %zu bytes, a multiple "
                    "of %zu, but got %zu; 0 means rows without a gap.",
                    row, sizeof(float), planes.probability_pitch);
    }
    return EBTS_OK;
}

}  // namespace

extern "C" {

const char* ebts_version(void) {
    return EBTS_DOTTED(EBTS_VERSION_MAJOR, EBTS_VERSION_MINOR, EBTS_VERSION_PATCH);
}

const char* ebts_status_text(ebts_status status) {
    switch (status) {
        case EBTS_OK:
            return "ok";
        case EBTS_ERROR_ARGUMENT:
            return "invalid argument";
        case EBTS_ERROR_FRAME:
            return "invalid frame";
        case EBTS_ERROR_TOO_LARGE:
            return "frame larger than declared";
        case EBTS_ERROR_PLANE:
            return "invalid output plane";
        case EBTS_ERROR_BUSY:
            return "session in use by another thread";
        case EBTS_ERROR_BUNDLE:
            return "no bundle, or a malformed one";
        case EBTS_ERROR_INTEGRITY:
            return "signature, hash or content of the bundle is wrong";
        case EBTS_ERROR_INCOMPATIBLE:
            return "needs another version or backend";
        case EBTS_ERROR_SELF_TEST:
            return "self-test failed";
        case EBTS_ERROR_BACKEND:
            return "inference failed";
        case EBTS_ERROR_MEMORY:
            return "out of memory";
        case EBTS_ERROR_INTERNAL:
            return "internal error";
    }
    return "unknown status";
}

const char* ebts_last_error(void) {
    return last_error;
}

ebts_status ebts_model_open(const char* path, const ebts_model_options* options,
                            ebts_model** model) {
    if (model == nullptr) return fail_null("model");
    *model = nullptr;
    if (path == nullptr) return fail_null("path");
    ebts_model_options how{};
    if (options != nullptr) {
        const ebts_status status = take(options, "ebts_model_options", how);
        if (status != EBTS_OK) return status;
    }
    const ebts_status status = check_options(how);
    if (status != EBTS_OK) return status;
    return guarded([&] {
        const auto log = [&how](ebts_log_level level, const std::string& text) {
            if (how.log != nullptr) how.log(how.log_user, level, text.c_str());
        };
        auto opened = std::make_unique<ebts_model>();
        opened->model = edge_bts::open_model(path, trust_of(how), choice_of(how), log);
        *model = opened.release();
        return EBTS_OK;
    });
}

void ebts_model_close(ebts_model* model) {
    delete model;
}

ebts_status ebts_model_describe(const ebts_model* model, ebts_model_info* info) {
    if (model == nullptr) return fail_null("model");
    if (info == nullptr) return fail_null("info");
    const ebts_status status = check_size(info->struct_size, sizeof *info, "ebts_model_info");
    if (status != EBTS_OK) return status;
    const edge_bts::Model& of = *model->model;
    info->name = of.name.c_str();
    info->version = of.version.c_str();
    info->precision = of.precision.c_str();
    info->backend = of.backend.c_str();
    info->signer = of.signer.c_str();
    info->manifest_sha256 = of.manifest_sha256.c_str();
    info->trusted = of.trusted ? 1 : 0;
    info->self_tested = of.self_tested ? 1 : 0;
    info->side = static_cast<std::uint32_t>(of.settings.side);
    info->threshold = of.settings.threshold;
    info->presence_threshold = of.settings.presence_threshold;
    return EBTS_OK;
}

ebts_status ebts_session_create(const ebts_model* model, const ebts_session_options* options,
                                ebts_session** session) {
    if (session == nullptr) return fail_null("session");
    *session = nullptr;
    if (model == nullptr) return fail_null("model");
    if (options == nullptr) return fail_null("options");
    ebts_session_options how{};
    ebts_status status = take(options, "ebts_session_options", how);
    if (status == EBTS_OK) status = check_options(how);
    if (status != EBTS_OK) return status;
    return guarded([&] {
        const std::uint32_t most =
            how.max_components == 0 ? kDefaultComponents : how.max_components;
        const Limits limits{static_cast<int>(how.max_height), static_cast<int>(how.max_width),
                            static_cast<int>(most), how.deadline_us};
        *session = std::make_unique<ebts_session>(model->model, limits).release();
        return EBTS_OK;
    });
}

void ebts_session_destroy(ebts_session* session) {
    delete session;
}

ebts_status ebts_self_test(ebts_session* session) {
    if (session == nullptr) return fail_null("session");
    const Turn turn(*session);
    if (!turn) return fail_busy();
    const edge_bts::Model& model = session->pipeline.model();
    if (!model.golden) {
        return fail(EBTS_ERROR_BUNDLE,
                    "Expected golden frames to test with, but the bundle of %s has none; export "
                    "it again.",
                    model.name.c_str());
    }
    return guarded([&] {
        const edge_bts::Difference came = session->pipeline.self_test();
        if (within(*model.golden, came)) return EBTS_OK;
        return fail(EBTS_ERROR_SELF_TEST,
                    "Expected a golden frame to be reproduced to %.2g in probability and %.2g of "
                    "the mask, but it differs by %.2g and %.2g; do not use this session.",
                    model.golden->mean_abs, model.golden->pixels, came.mean_abs, came.pixels);
    });
}

ebts_status ebts_segment(ebts_session* session, const ebts_frame* frame, const ebts_planes* planes,
                         ebts_result* result) {
    if (session == nullptr) return fail_null("session");
    if (frame == nullptr) return fail_null("frame");
    if (result == nullptr) return fail_null("result");
    const Turn turn(*session);
    if (!turn) return fail_busy();
    ebts_frame image{};
    ebts_planes out{};
    Job job{};
    ebts_status status = check_size(result->struct_size, sizeof *result, "ebts_result");
    if (status == EBTS_OK) status = take(frame, "ebts_frame", image);
    if (status == EBTS_OK && planes != nullptr) status = take(planes, "ebts_planes", out);
    if (status == EBTS_OK) status = check_frame(image, session->pipeline.limits(), job);
    if (status == EBTS_OK) status = check_roi(image.roi, job);
    if (status == EBTS_OK) status = check_planes(out, job);
    if (status != EBTS_OK) return status;
    return guarded([&] {
        ebts_result made{};
        session->pipeline.run(job, made);
        made.struct_size = result->struct_size;
        made.width = image.width;
        made.height = image.height;
        made.timestamp = image.timestamp;
        *result = made;
        return EBTS_OK;
    });
}

}  // extern "C"
