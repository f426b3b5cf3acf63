// Times every stage of a frame: frame_times BUNDLE KEY.pub IMAGE.pgm [FRAMES [THREADS [CACHE]]]
//
// IMAGE is a raw PGM (P5) of 8 bits without comments. Runs it FRAMES times back to back (1000),
// after a tenth of that as warm-up, and prints one JSON object: for each stage and for the whole
// frame p50, p99 and the highest time in milliseconds, never clipped, and `share`, the part of the
// summed time that is the network's own; memory at the
// start, when the libraries are loaded, and at its highest. Mask and components are asked for, the
// probability is not. CACHE is the folder of compiled networks.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <edge_bts/edge_bts.hpp>
#include <exception>
#include <fstream>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "pgm.hpp"

namespace {

struct Times {
    const char* name;
    std::vector<double> values = {};

    double sum() const { return std::accumulate(values.begin(), values.end(), 0.0); }

    void print() {
        std::sort(values.begin(), values.end());
        const std::size_t last = values.size() - 1;
        std::printf("  \"%s_ms\": {\"p50\": %.4f, \"p99\": %.4f, \"max\": %.4f},\n", name,
                    values[last / 2], values[last - last / 100], values[last]);
    }
};

/// The most memory that the process has held, in MB.
double peak_rss_mb() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.rfind("VmHWM:", 0) == 0) return std::stod(line.substr(6)) / 1024;
    }
    return 0;
}

void measure(const char* bundle, const char* key, const Image& image, std::size_t count,
             std::uint32_t threads, const char* cache) {
    const double loaded = peak_rss_mb();
    auto how = ebts::sized<ebts_model_options>();
    how.key_files = &key;
    how.key_file_count = 1;
    how.threads = threads;
    how.cache_dir = cache;
    const ebts::Model model(bundle, how);
    auto limits = ebts::sized<ebts_session_options>();
    limits.max_width = image.width;
    limits.max_height = image.height;
    ebts::Session session(model, limits);

    auto frame = ebts::sized<ebts_frame>();
    frame.data = image.pixels.data();
    frame.width = image.width;
    frame.height = image.height;
    frame.format = EBTS_GRAY8;
    std::vector<std::uint8_t> mask(image.pixels.size());
    auto planes = ebts::sized<ebts_planes>();
    planes.mask = mask.data();

    for (std::size_t i = 0; i < count / 10; ++i) session.segment(frame, planes);
    Times before{"preprocess"};
    Times network{"inference"};
    Times after{"postprocess"};
    Times whole{"frame"};
    ebts_result result{};
    for (std::size_t i = 0; i < count; ++i) {
        result = session.segment(frame, planes);
        before.values.push_back(result.preprocess_ms);
        network.values.push_back(result.inference_ms);
        after.values.push_back(result.postprocess_ms);
        whole.values.push_back(result.preprocess_ms + result.inference_ms + result.postprocess_ms);
    }
    const ebts_model_info info = model.describe();
    std::printf("{\n  \"library\": \"%s\",\n  \"model\": \"%s\",\n  \"precision\": \"%s\",\n",
                ebts_version(), info.name, info.precision);
    std::printf("  \"backend\": \"%s\",\n  \"manifest_sha256\": \"%s\",\n", info.backend,
                info.manifest_sha256);
    std::printf("  \"width\": %u,\n  \"height\": %u,\n  \"frames\": %zu,\n  \"components\": %u,\n",
                image.width, image.height, count, result.component_count);
    for (Times* times : {&before, &network, &after, &whole}) times->print();
    std::printf("  \"rss_at_start_mb\": %.1f,\n  \"peak_rss_mb\": %.1f,\n", loaded, peak_rss_mb());
    std::printf("  \"share\": %.4f\n}\n", network.sum() / whole.sum());
}

}  // namespace

int main(int argc, char** argv) {
    try {
        if (argc < 4 || argc > 7) {
            throw std::runtime_error(
                "usage: frame_times BUNDLE KEY.pub IMAGE.pgm [FRAMES [THREADS [CACHE]]]");
        }
        const unsigned long frames = argc > 4 ? std::stoul(argv[4]) : 1000;
        const unsigned long threads = argc > 5 ? std::stoul(argv[5]) : 1;
        measure(argv[1], argv[2], read_pgm(argv[3]), std::max(1UL, frames),
                static_cast<std::uint32_t>(threads), argc > 6 ? argv[6] : nullptr);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "frame_times: %s\n", error.what());
        return 1;
    }
}
