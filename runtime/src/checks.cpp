#include "checks.hpp"

#include <cmath>
#include <cstdint>

#include "gray.hpp"

namespace edge_bts {
namespace {

constexpr std::uint32_t kMaxComponents = 65536;
constexpr std::size_t kMaxStruct = 4096;

bool is_side(std::uint32_t side) noexcept {
    return side >= 1 && side <= static_cast<std::uint32_t>(kMaxSize);
}

/// Whether rows of `bytes` fit in `pitch`, and all rows in the address space.
bool fits(std::size_t pitch, std::size_t bytes, std::uint32_t height) noexcept {
    return pitch >= bytes && pitch <= static_cast<std::size_t>(PTRDIFF_MAX) / height;
}

bool is_memory(std::uint32_t memory) noexcept {
    return memory == EBTS_MEMORY_HOST || memory == EBTS_MEMORY_CUDA;
}

const char* name_of(std::uint32_t memory) noexcept {
    return memory == EBTS_MEMORY_CUDA ? "EBTS_MEMORY_CUDA" : "EBTS_MEMORY_HOST";
}

bool is_whole(const ebts_rect& roi) noexcept {
    return roi.x == 0 && roi.y == 0 && roi.width == 0 && roi.height == 0;
}

ebts_status check_roi(const ebts_rect& roi, Job& job) noexcept {
    if (is_whole(roi)) {
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

ebts_status check_sector(const ebts_frame& frame, Job& job) noexcept {
    const std::size_t count = frame.sector_count;
    if (count < 3 || count > Sector::kMostCorners) {
        return fail(EBTS_ERROR_FRAME, "Expected a sector of 3 to %zu corners, but got %zu.",
                    Sector::kMostCorners, count);
    }
    for (std::size_t i = 0; i < count; ++i) {
        const ebts_point& corner = frame.sector[i];
        if (corner.x < 0 || corner.y < 0 || corner.x > job.width || corner.y > job.height) {
            return fail(EBTS_ERROR_FRAME,
                        "Expected the corners of the sector within the frame of %d x %d, but got "
                        "one at (%d, %d).",
                        job.width, job.height, corner.x, corner.y);
        }
    }
    job.sector = Sector(frame.sector, count);
    job.roi = job.sector.box();
    if (job.sector.area() > 0) return EBTS_OK;
    return fail(EBTS_ERROR_FRAME,
                "Expected a sector with pixels in it, but the polygon holds no centre of one; take "
                "the whole frame where there is none.");
}

}  // namespace

ebts_status check_size(std::size_t size, std::size_t first, const char* name) noexcept {
    // Every sizeof is whole pointers: another size could end within one.
    if (size >= first && size <= kMaxStruct && size % alignof(void*) == 0) return EBTS_OK;
    return fail(EBTS_ERROR_ARGUMENT,
                "Expected struct_size of %s to be its sizeof, but got %zu; set it before the call.",
                name, size);
}

ebts_status check_rest(const void* given, std::size_t size, std::size_t known,
                       const char* name) noexcept {
    const auto* bytes = static_cast<const unsigned char*>(given);
    if (size <= known ||
        std::all_of(bytes + known, bytes + size, [](unsigned char byte) { return byte == 0; })) {
        return EBTS_OK;
    }
    return fail(EBTS_ERROR_ARGUMENT,
                "Expected %s without fields that edge-bts %s does not know, but one is set; "
                "install a newer library.",
                name, ebts_version());
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
    if (!(options.presence_keep >= 0)) {
        return fail(EBTS_ERROR_ARGUMENT,
                    "Expected presence_keep of at least 0, but got %g; 0 stands for none.",
                    options.presence_keep);
    }
    if (!is_memory(options.memory)) {
        return fail(EBTS_ERROR_ARGUMENT,
                    "Expected an ebts_memory, but got %u; 0 stands for that of the host.",
                    options.memory);
    }
    return EBTS_OK;
}

ebts_status check_frame(const ebts_frame& frame, const Limits& limits, Job& job) noexcept {
    if (frame.data == nullptr) return fail_null("data of the frame");
    if (!is_memory(frame.memory) || frame.memory != limits.memory) {
        return fail(EBTS_ERROR_FRAME,
                    "Expected a frame in %s, as its session was created for, but its memory is %s; "
                    "create a session with that memory, or copy the frame.",
                    name_of(limits.memory),
                    is_memory(frame.memory) ? name_of(frame.memory) : "no ebts_memory");
    }
    if (frame.memory == EBTS_MEMORY_HOST && frame.stream != nullptr) {
        return fail(EBTS_ERROR_FRAME,
                    "Expected no stream for a frame in the memory of the host, but got one; wait "
                    "for it and pass NULL.");
    }
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
    if (frame.sector_count != 0 && frame.sector == nullptr) return fail_null("sector");
    if (frame.sector != nullptr && !is_whole(frame.roi)) {
        return fail(EBTS_ERROR_FRAME,
                    "Expected a roi or a sector, but got both; set all of the roi to 0.");
    }
    job.pixels = static_cast<const std::uint8_t*>(frame.data);
    job.pitch = pitch;
    job.height = static_cast<int>(frame.height);
    job.width = static_cast<int>(frame.width);
    job.format = frame.format;
    job.white = frame.gray16_white == 0 ? 65535 : frame.gray16_white;
    job.mm = frame.mm_per_pixel;
    job.timestamp = frame.timestamp;
    job.stream = frame.stream;
    const ebts_status status =
        frame.sector != nullptr ? check_sector(frame, job) : check_roi(frame.roi, job);
    if (status == EBTS_OK) {
        job.pixels += static_cast<std::size_t>(job.roi.y) * pitch +
                      static_cast<std::size_t>(job.roi.x) * bytes;
    }
    return status;
}

ebts_status check_planes(const ebts_planes& given, int frame_width, int frame_height,
                         Planes& planes) noexcept {
    const auto width = static_cast<std::size_t>(frame_width);
    const auto height = static_cast<std::uint32_t>(frame_height);
    const bool sized = given.width != 0 || given.height != 0;
    if (sized && (width > given.width || height > given.height)) {
        return fail(EBTS_ERROR_PLANE,
                    "Expected planes with room for %d x %d, but got such for %u x %u; pass larger "
                    "ones.",
                    frame_width, frame_height, given.width, given.height);
    }
    planes.mask = given.mask;
    planes.mask_pitch = given.mask_pitch == 0 ? width : given.mask_pitch;
    if (planes.mask != nullptr && !fits(planes.mask_pitch, width, height)) {
        return fail(EBTS_ERROR_PLANE,
                    "Expected a mask_pitch of at least %zu bytes, but got %zu; 0 means rows "
                    "without a gap.",
                    width, given.mask_pitch);
    }
    const std::size_t row = width * sizeof(float);
    const std::size_t pitch = given.probability_pitch == 0 ? row : given.probability_pitch;
    planes.probability = given.probability;
    planes.probability_pitch = pitch / sizeof(float);
    if (planes.probability != nullptr &&
        (!fits(pitch, row, height) || pitch % sizeof(float) != 0 ||
         reinterpret_cast<std::uintptr_t>(given.probability) % alignof(float) != 0)) {
        return fail(EBTS_ERROR_PLANE,
                    "Expected an aligned probability and a pitch of at least %zu bytes, a multiple "
                    "of %zu, but got %zu; 0 means rows without a gap.",
                    row, sizeof(float), given.probability_pitch);
    }
    return EBTS_OK;
}

}  // namespace edge_bts
