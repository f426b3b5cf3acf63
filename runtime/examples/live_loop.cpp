// A camera and a display, each with a thread: live_loop BUNDLE KEY.pub IMAGE.pgm [FRAMES [FPS]]
//
// IMAGE is a raw PGM (P5) of 8 bits without comments. It is submitted FRAMES times (90) at FPS (30)
// as a scanner's driver would do it, moved by one pixel from frame to frame; the display fetches
// what is ready and draws it, or hides what it drew. Prints what became of the frames.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <edge_bts/edge_bts.hpp>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "pgm.hpp"

namespace {

using Clock = std::chrono::steady_clock;

/// The scanner's driver: its buffer is gone when the call returns, and it cannot wait.
void acquire(ebts::LiveSession& session, Image image, unsigned frames, Clock::duration period) {
    Clock::time_point due = Clock::now();
    for (unsigned number = 1; number <= frames; ++number, due += period) {
        std::this_thread::sleep_until(due);
        auto frame = ebts::sized<ebts_frame>();
        frame.data = image.pixels.data();
        frame.width = image.width - 1;
        frame.height = image.height;
        frame.pitch = image.width;
        frame.format = EBTS_GRAY8;
        frame.timestamp = number;
        session.submit(frame);
        image.pixels.insert(image.pixels.begin(), image.pixels.back());
        image.pixels.pop_back();
    }
}

/// What is on the screen, in place of a screen.
struct Overlay {
    unsigned drawn = 0;
    unsigned hidden = 0;
    double worst_age_ms = 0;

    void draw(const ebts_result& result, const std::vector<std::uint8_t>& /*mask*/) {
        ++drawn;
        if (result.age_ms > worst_age_ms) worst_age_ms = result.age_ms;
    }
    void hide(const char* /*why*/) { ++hidden; }
};

void show(ebts::LiveSession& session, const Image& image, const std::atomic<bool>& over,
          Overlay& overlay) {
    std::vector<std::uint8_t> mask(image.pixels.size());
    auto planes = ebts::sized<ebts_planes>();
    planes.mask = mask.data();
    while (!over || session.counts().pending > 0) {
        try {
            const auto result = session.poll(planes, std::chrono::milliseconds(10));
            if (!result) continue;  // what is drawn is still right
            if ((result->health & EBTS_HEALTH_UNUSABLE) != 0) {
                overlay.hide("no result for this frame");
            } else {
                overlay.draw(*result, mask);
            }
        } catch (const ebts::Error& error) {
            overlay.hide(error.what());
        }
    }
}

void run(const char* bundle, const char* key, const char* path, unsigned frames, double fps) {
    const Image image = read_pgm(path);
    const auto period =
        std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1 / fps));
    auto how = ebts::sized<ebts_model_options>();
    how.key_files = &key;
    how.key_file_count = 1;
    const ebts::Model model(bundle, how);
    auto limits = ebts::sized<ebts_session_options>();
    limits.max_width = image.width;
    limits.max_height = image.height;
    limits.deadline_us = static_cast<std::uint32_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(period).count());
    ebts::LiveSession session(model, limits);

    Overlay overlay;
    std::atomic<bool> over{false};
    std::thread display([&] { show(session, image, over, overlay); });
    acquire(session, image, frames, period);
    over = true;
    display.join();

    const ebts_counts counts = session.counts();
    std::printf("frames %llu, results %llu, errors %llu, dropped %llu\n",
                static_cast<unsigned long long>(counts.frames),
                static_cast<unsigned long long>(counts.results),
                static_cast<unsigned long long>(counts.errors),
                static_cast<unsigned long long>(counts.dropped));
    std::printf("drawn %u, hidden %u, oldest drawn %.1f ms\n", overlay.drawn, overlay.hidden,
                overlay.worst_age_ms);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        if (argc < 4 || argc > 6) {
            throw std::runtime_error("usage: live_loop BUNDLE KEY.pub IMAGE.pgm [FRAMES [FPS]]");
        }
        const unsigned long frames = argc > 4 ? std::stoul(argv[4]) : 90;
        const double fps = argc > 5 ? std::stod(argv[5]) : 30;
        if (!(fps >= 1 && fps <= 1000)) throw std::runtime_error("expected 1 to 1000 fps");
        run(argv[1], argv[2], argv[3], static_cast<unsigned>(frames), fps);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "live_loop: %s\n", error.what());
        return 1;
    }
}
