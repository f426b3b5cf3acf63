// Segments what a Clarius scanner casts: clarius_cast BUNDLE KEY.pub ADDRESS PORT [DEADLINE_MS]
//
// Built where Clarius' Cast (headers cast/cast.h and the library, version 12) is found. Written
// against its public interface and run against a stand-in of ours: it has never seen a probe.
// Research software, not a medical device.
//
// Cast calls back in a thread of its own, which has to return soon, with a buffer that is gone when
// it does. So frames are submitted there, and fetched and drawn in the thread of main. When the
// image is frozen, its result goes back into the scanner's store as a capture.
#include <cast/cast.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <edge_bts/edge_bts.hpp>
#include <exception>
#include <future>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr int kWidth = 640;
constexpr int kHeight = 480;

// Cast's callbacks carry no pointer of the caller.
ebts_session* g_session = nullptr;
std::atomic<unsigned> g_refused{0};
std::atomic<bool> g_frozen{false};
std::promise<bool> g_connected;

void on_image(const void* pixels, const CusProcessedImageInfo* image, int, const CusPosInfo*) {
    if (image->overlay != 0 || image->format != Uncompressed8Bit) return;  // Doppler; a still
    auto frame = ebts::sized<ebts_frame>();
    frame.data = pixels;  // Cast's until we return: ebts_submit copies what it needs
    frame.width = static_cast<std::uint32_t>(image->width);
    frame.height = static_cast<std::uint32_t>(image->height);
    frame.format = EBTS_GRAY8;
    frame.mm_per_pixel = image->micronsPerPixel / 1000;
    frame.timestamp = static_cast<std::uint64_t>(image->tm);
    if (ebts_submit(g_session, &frame) != EBTS_OK) ++g_refused;
}

void on_freeze(int state) {
    g_frozen = state == 1;
}

void on_connect(int image_port, int, int) {
    g_connected.set_value(image_port != CUS_FAILURE);
}

void on_captured(int result) {
    std::printf("capture %s\n", result == CUS_SUCCESS ? "stored" : "refused");
}

/// What is on the screen, in place of a screen.
struct Screen {
    unsigned drawn = 0;
    unsigned hidden = 0;

    void draw(const ebts_result& /*result*/, const std::vector<std::uint8_t>& /*mask*/) { ++drawn; }
    void hide(const std::string& why) {
        ++hidden;
        std::printf("hidden: %s\n", why.c_str());
    }
};

/// Puts mask and outlines on the frame that they are of, in the scanner's store.
bool capture(const ebts_result& result, std::vector<std::uint8_t> mask) {
    const int id = castStartCapture(static_cast<long long int>(result.timestamp));
    if (id < 0) return false;
    for (std::uint8_t& pixel : mask) pixel = pixel != 0 ? 255 : 0;
    castAddImageOverlay(id, mask.data(), kWidth, kHeight, 1.0F, 0.86F, 0.31F, 0.4F);
    for (std::uint32_t i = 0; i < result.component_count; ++i) {
        const ebts_component& part = *result.components[i];
        std::vector<double> points;
        for (std::size_t k = 0; k < part.contour_count; ++k) {
            points.push_back(part.contour[k].x);
            points.push_back(part.contour[k].y);
        }
        castAddMeasurement(id, CusMeasurementTypeTraceArea, "research, not for diagnosis",
                           points.data(), static_cast<int>(points.size()));
    }
    return castFinishCapture(id, on_captured) == CUS_SUCCESS;
}

void show(ebts::LiveSession& session, Screen& screen) {
    std::vector<std::uint8_t> mask(std::size_t{kWidth} * kHeight);
    auto planes = ebts::sized<ebts_planes>();
    planes.mask = mask.data();
    std::optional<ebts_result> drawn;
    while (castIsConnected() == 1) {
        try {
            // Nothing new: what is drawn is still right.
            if (const auto result = session.poll(planes, std::chrono::milliseconds(20))) {
                drawn.reset();
                if ((result->health & EBTS_HEALTH_UNUSABLE) != 0) {
                    screen.hide(ebts::health_words(result->health));
                } else {
                    screen.draw(*result, mask);
                    drawn = result;
                }
            }
        } catch (const ebts::Error& error) {
            drawn.reset();
            screen.hide(error.what());  // a frame failed, or none came out for too long
        }
        // The frozen image is the last one: once nothing is under way, its result is drawn.
        if (g_frozen && drawn && session.counts().pending == 0) {
            if (!capture(*drawn, mask)) std::printf("capture refused\n");
            g_frozen = false;
        }
    }
}

/// Cast, from castInit to castDestroy; after that no callback comes any more.
class Cast {
  public:
    Cast(int argc, char** argv) {
        CusInitParams params = castDefaultInitParams();
        params.args.argc = argc;
        params.args.argv = argv;
        params.storeDir = ".";
        params.newProcessedImageFn = on_image;
        params.freezeFn = on_freeze;
        params.width = kWidth;
        params.height = kHeight;
        if (castInit(&params) != CUS_SUCCESS) throw std::runtime_error("Cast does not start");
        castSetFormat(Uncompressed8Bit);
        castSeparateOverlays(1);  // colour in images of its own, which on_image leaves out
    }
    ~Cast() { castDestroy(); }
    Cast(const Cast&) = delete;
    Cast& operator=(const Cast&) = delete;

    void connect(const char* address, unsigned port) {
        auto connected = g_connected.get_future();
        if (castConnect(address, port, "research", on_connect) != CUS_SUCCESS ||
            connected.wait_for(std::chrono::seconds(10)) != std::future_status::ready ||
            !connected.get()) {
            throw std::runtime_error("no scanner casts at " + std::string(address));
        }
    }
};

void run(int argc, char** argv) {
    const char* key = argv[2];
    auto how = ebts::sized<ebts_model_options>();
    how.key_files = &key;
    how.key_file_count = 1;
    how.threads = 1;
    const ebts::Model model(argv[1], how);

    auto limits = ebts::sized<ebts_session_options>();
    limits.max_width = kWidth;
    limits.max_height = kHeight;
    limits.deadline_us = argc > 5 ? 1000 * static_cast<std::uint32_t>(std::atoi(argv[5])) : 33000;
    ebts::LiveSession session(model, limits);
    g_session = session.get();

    Screen screen;
    {
        Cast cast(argc, argv);  // ends before the session does
        cast.connect(argv[3], static_cast<unsigned>(std::atoi(argv[4])));
        show(session, screen);
    }
    const ebts_counts counts = session.counts();
    std::printf("frames %llu, refused %u, dropped %llu, drawn %u, hidden %u\n",
                static_cast<unsigned long long>(counts.frames), g_refused.load(),
                static_cast<unsigned long long>(counts.dropped), screen.drawn, screen.hidden);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        if (argc < 5 || argc > 6) {
            throw std::runtime_error(
                "usage: clarius_cast BUNDLE KEY.pub ADDRESS PORT [DEADLINE_MS]");
        }
        run(argc, argv);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "clarius_cast: %s\n", error.what());
        return 1;
    }
}
