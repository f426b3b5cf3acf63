// A scanner that casts thirty frames, freezes, and prints what is stored in it.
//
// Its address is the path of a PGM of the size that castInit is told; frame n shows it n - 1 pixels
// further in reading order. As a real scanner it calls back in a thread of its own and takes its
// buffer back: that is white when the callback has returned. Before each frame come a Doppler overlay
// and a JPEG. Once a capture is finished it is no longer connected.
#include <cast/cast.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int kFrames = 30;
CusInitParams g_params{};
std::thread g_thread;
std::atomic<int> g_connected{0};
CusImageFormat g_format = Uncompressed;

void cast_frames(const std::string& path) {
    std::vector<std::uint8_t> image(static_cast<std::size_t>(g_params.width) * g_params.height);
    std::ifstream file(path, std::ios::binary);
    file.seekg(-static_cast<std::streamoff>(image.size()), std::ios::end);
    file.read(reinterpret_cast<char*>(image.data()), static_cast<std::streamsize>(image.size()));
    CusProcessedImageInfo info{};
    info.width = g_params.width;
    info.height = g_params.height;
    info.bitsPerPixel = 8;
    info.imageSize = static_cast<int>(image.size());
    info.micronsPerPixel = 100;
    for (int number = 1; number <= kFrames; ++number) {
        for (const auto& [overlay, format] : {std::pair{1, g_format}, {0, Jpeg}, {0, g_format}}) {
            std::vector<std::uint8_t> buffer = image;
            info.tm = 1000000LL * number;
            info.overlay = overlay;
            info.format = format;
            g_params.newProcessedImageFn(buffer.data(), &info, 0, nullptr);
            for (auto& pixel : buffer) pixel = 255;
        }
        image.insert(image.begin(), 0);
        image.pop_back();
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    g_params.freezeFn(1);
}

}  // namespace

int castInit(const CusInitParams* params) {
    g_params = *params;
    return CUS_SUCCESS;
}
CusInitParams castDefaultInitParams(void) {
    return CusInitParams{};
}
int castDestroy(void) {
    if (g_thread.joinable()) g_thread.join();
    return CUS_SUCCESS;
}
int castConnect(const char* address, unsigned int, const char*, CusConnectFn fn) {
    if (!std::ifstream(address)) {
        fn(CUS_FAILURE, CUS_FAILURE, CUS_FAILURE);
        return CUS_SUCCESS;
    }
    g_connected = 1;
    fn(5828, 5829, CUS_SUCCESS);
    g_thread = std::thread(cast_frames, std::string(address));
    return CUS_SUCCESS;
}
int castIsConnected(void) {
    return g_connected;
}
int castSeparateOverlays(int) {
    return CUS_SUCCESS;
}
int castSetFormat(CusImageFormat format) {
    g_format = format;
    return CUS_SUCCESS;
}
int castStartCapture(long long int timestamp) {
    std::printf("frame %lld\n", timestamp / 1000000);
    return 7;
}
int castAddImageOverlay(int id, const void* data, int width, int height, float, float, float,
                        float) {
    const auto* pixels = static_cast<const std::uint8_t*>(data);
    long white = 0;
    for (long i = 0; i < long{width} * height; ++i) white += pixels[i] == 255;
    std::printf("overlay %d %ld\n", id, white);
    return CUS_SUCCESS;
}
int castAddMeasurement(int id, CusMeasurementType type, const char*, const double* points,
                       int count) {
    std::printf("measurement %d %d", id, static_cast<int>(type));
    for (int i = 0; i < count; ++i) std::printf(" %g", points[i]);
    std::printf("\n");
    return CUS_SUCCESS;
}
int castFinishCapture(int id, CusReturnFn fn) {
    fn(id == 7 ? CUS_SUCCESS : CUS_FAILURE);
    g_connected = 0;
    return CUS_SUCCESS;
}
