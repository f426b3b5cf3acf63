// Frames in the GPU's memory against the same frames in the host's, with the kernels of
// runtime/cuda compiled as C++ and fakes of CUDA and TensorRT: the same results, and no CPU that
// reads a frame.
#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "edge_bts/edge_bts.hpp"
#include "fake_cuda.hpp"
#include "gray.hpp"
#include "site.hpp"
#include "support.hpp"

using site::has;
using site::Site;

namespace {

constexpr std::uint32_t kWidth = 75;
constexpr std::uint32_t kHeight = 61;

/// A frame whose pixels are in the GPU's memory only once its stream has run.
class DeviceFrame {
  public:
    explicit DeviceFrame(const ebts_frame& host) : frame(host), bytes_(host.pitch * host.height) {
        REQUIRE(cudaMalloc(&memory_, bytes_) == cudaSuccess);
        REQUIRE(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking) == cudaSuccess);
        std::memset(memory_, 77, bytes_);
        frame.data = memory_;
        frame.memory = EBTS_MEMORY_CUDA;
        frame.stream = stream_;
        fake_cuda::put(stream_, [to = memory_, from = host.data, bytes = bytes_] {
            std::memcpy(to, from, bytes);
        });
    }
    ~DeviceFrame() {
        cudaFree(memory_);
        cudaStreamDestroy(stream_);
    }
    DeviceFrame(const DeviceFrame&) = delete;
    DeviceFrame& operator=(const DeviceFrame&) = delete;

    /// Writes another picture over it.
    void spoil() const { std::memset(memory_, 200, bytes_); }

    ebts_frame frame;

  private:
    std::size_t bytes_;
    void* memory_ = nullptr;
    cudaStream_t stream_ = nullptr;
};

ebts_session_options limits(std::uint32_t memory) {
    auto options = ebts::sized<ebts_session_options>();
    options.max_width = options.max_height = 80;
    options.memory = memory;
    options.deadline_us = 60000000;
    return options;
}

/// Blobs of noise, with white among it.
std::vector<std::uint8_t> picture(std::size_t bytes, std::uint32_t seed) {
    auto pixels = support::bytes(bytes, seed);
    for (std::size_t i = 0; i < bytes; ++i) {
        if (i / 900 % 2 == 0) pixels[i] = static_cast<std::uint8_t>(128 + pixels[i] / 2);
    }
    return pixels;
}

/// What came of a frame, its arrays copied.
struct Outcome {
    ebts_result result;
    std::vector<std::uint8_t> mask;
    std::vector<float> probability;
    std::vector<std::uint32_t> areas;
    std::vector<std::int32_t> contours;
};

/// Takes planes and gives a result.
using Call = std::function<ebts_result(const ebts_planes&)>;

Outcome outcome_of(const Call& call) {
    Outcome outcome;
    outcome.mask.assign(kWidth * kHeight, 9);
    outcome.probability.assign(kWidth * kHeight, 9);
    auto planes = ebts::sized<ebts_planes>();
    planes.mask = outcome.mask.data();
    planes.probability = outcome.probability.data();
    outcome.result = call(planes);
    for (std::uint32_t i = 0; i < outcome.result.component_count; ++i) {
        const ebts_component& part = *outcome.result.components[i];
        outcome.areas.push_back(part.area_px);
        for (std::size_t k = 0; k < part.contour_count; ++k) {
            outcome.contours.push_back(part.contour[k].x);
            outcome.contours.push_back(part.contour[k].y);
        }
    }
    return outcome;
}

void check_same(const Outcome& host, const Outcome& device) {
    CHECK(device.mask == host.mask);
    CHECK(device.probability == host.probability);
    CHECK(device.areas == host.areas);
    CHECK(device.contours == host.contours);
    CHECK(device.result.health == host.result.health);
    CHECK(device.result.presence == host.result.presence);
    CHECK(device.result.components_found == host.result.components_found);
    CHECK(device.result.timestamp == host.result.timestamp);
    CHECK(device.result.sequence == host.result.sequence);
    CHECK(device.result.inference_ms > 0);
    CHECK(device.result.postprocess_ms >= 0);
}

/// Calls work(frame) for frames of every format, each whole, as a region and as a sector.
void for_each_frame(const std::function<void(ebts_frame&)>& work) {
    const ebts_point fan[] = {{30, 2}, {45, 2}, {75, 50}, {37, 61}, {4, 50}};
    std::uint64_t number = 0;
    for (std::uint32_t format = EBTS_GRAY8; format <= EBTS_NV12; ++format) {
        const std::size_t pitch = (kWidth * edge_bts::pixel_bytes(format) + 7) / 2 * 2;
        const auto pixels = picture(pitch * kHeight, format);
        for (const int part : {0, 1, 2}) {
            CAPTURE(format);
            CAPTURE(part);
            auto frame = ebts::sized<ebts_frame>();
            frame.data = pixels.data();
            frame.pitch = pitch;
            frame.width = kWidth;
            frame.height = kHeight;
            frame.format = format;
            frame.gray16_white = 50000;
            frame.timestamp = ++number;
            if (part == 1) frame.roi = {7, 9, 51, 43};
            if (part == 2) {
                frame.sector = fan;
                frame.sector_count = 5;
            }
            work(frame);
        }
    }
}

/// A session's status for a frame.
ebts_status status_of(const ebts::Session& session, const ebts_frame& frame) {
    auto result = ebts::sized<ebts_result>();
    return ebts_segment(session.get(), &frame, nullptr, &result);
}

ebts_frame gray_frame(const std::vector<std::uint8_t>& pixels) {
    auto frame = ebts::sized<ebts_frame>();
    frame.data = pixels.data();
    frame.pitch = kWidth;
    frame.width = kWidth;
    frame.height = kHeight;
    frame.format = EBTS_GRAY8;
    return frame;
}

}  // namespace

TEST_CASE("a frame in the GPU's memory gives what it gives in the host's") {
    for (const bool integrated : {true, false}) {
        for (const bool graph : {true, false}) {
            Site site;
            {
                fake_cuda::device().integrated = integrated;
                site.sidecar["cuda_graph"] = graph;
                site.write_engine();
                const ebts::Model model = site.open();
                ebts::Session host(model, limits(EBTS_MEMORY_HOST));
                ebts::Session device(model, limits(EBTS_MEMORY_CUDA));
                bool found = false;
                for_each_frame([&](ebts_frame& frame) {
                    const auto expected = outcome_of(
                        [&](const ebts_planes& planes) { return host.segment(frame, planes); });
                    const DeviceFrame there(frame);
                    const int copies = fake_cuda::copies();
                    const auto came = outcome_of([&](const ebts_planes& planes) {
                        return device.segment(there.frame, planes);
                    });
                    check_same(expected, came);
                    // The count of white pixels comes to the host, and what is not mapped: output
                    // and mask; nothing goes the other way.
                    CHECK(fake_cuda::copies() - copies == (integrated ? 1 : 3));
                    found = found || came.areas.size() > 1;
                });
                CHECK(found);
            }
            CHECK(fake_cuda::living() == 0);
        }
    }
}

TEST_CASE("a live session has read a frame of the GPU when it was submitted") {
    Site site;
    {
        fake_cuda::device().integrated = false;
        const ebts::Model model = site.open();
        ebts::Session host(model, limits(EBTS_MEMORY_HOST));
        ebts::LiveSession device(model, limits(EBTS_MEMORY_CUDA));
        for_each_frame([&](ebts_frame& frame) {
            const auto expected =
                outcome_of([&](const ebts_planes& planes) { return host.segment(frame, planes); });
            const DeviceFrame there(frame);
            device.submit(there.frame);
            there.spoil();
            const auto came = outcome_of([&](const ebts_planes& planes) {
                auto result = device.poll(planes, std::chrono::seconds(60));
                REQUIRE(result.has_value());
                return *result;
            });
            check_same(expected, came);
        });
    }
    CHECK(fake_cuda::living() == 0);
}

TEST_CASE("a frame of the GPU without a stream is read as it is") {
    Site site;
    const ebts::Model model = site.open();
    ebts::Session host(model, limits(EBTS_MEMORY_HOST));
    ebts::Session device(model, limits(EBTS_MEMORY_CUDA));
    const auto pixels = picture(kWidth * kHeight, 3);
    ebts_frame frame = gray_frame(pixels);
    const DeviceFrame there(frame);
    ebts_frame written = there.frame;
    REQUIRE(cudaStreamSynchronize(static_cast<cudaStream_t>(written.stream)) == cudaSuccess);
    written.stream = nullptr;
    check_same(
        outcome_of([&](const ebts_planes& planes) { return host.segment(frame, planes); }),
        outcome_of([&](const ebts_planes& planes) { return device.segment(written, planes); }));
}

TEST_CASE(
    "pixels that do not lie in the GPU's memory are refused, and the next frame is a result") {
    Site site;
    const ebts::Model model = site.open();
    ebts::Session session(model, limits(EBTS_MEMORY_CUDA));
    ebts::LiveSession live(model, limits(EBTS_MEMORY_CUDA));
    const auto pixels = picture(kWidth * kHeight, 3);
    const DeviceFrame there(gray_frame(pixels));
    ebts_frame wrong = there.frame;
    wrong.data = pixels.data();
    CHECK(status_of(session, wrong) == EBTS_ERROR_FRAME);
    CHECK(has(ebts_last_error(), "its first pixel does not lie there"));
    CHECK(ebts_submit(live.get(), &wrong) == EBTS_ERROR_FRAME);
    wrong = there.frame;
    wrong.pitch = 2 * kWidth;  // of a frame twice as large
    CHECK(status_of(session, wrong) == EBTS_ERROR_FRAME);
    CHECK(has(ebts_last_error(), "its last pixel does not lie there"));
    CHECK(status_of(session, there.frame) == EBTS_OK);
    CHECK(session.counts().errors == 2);
    CHECK(session.counts().results == 1);
    CHECK(live.counts().errors == 1);
}

TEST_CASE("a frame and its session say the same memory") {
    Site site;
    const ebts::Model model = site.open();
    const auto pixels = picture(kWidth * kHeight, 3);
    const ebts_frame here = gray_frame(pixels);
    const DeviceFrame there(here);
    const ebts::Session host(model, limits(EBTS_MEMORY_HOST));
    const ebts::Session device(model, limits(EBTS_MEMORY_CUDA));
    CHECK(status_of(host, there.frame) == EBTS_ERROR_FRAME);
    CHECK(has(ebts_last_error(), "EBTS_MEMORY_CUDA; create a session"));
    CHECK(status_of(device, here) == EBTS_ERROR_FRAME);
}

TEST_CASE("golden frames run between frames of the GPU, and change nothing for them") {
    for (const bool graph : {true, false}) {
        Site site;
        site.sidecar["cuda_graph"] = graph;
        site.write_engine();
        const ebts::Model model = site.open();
        ebts::Session host(model, limits(EBTS_MEMORY_HOST));
        ebts::Session device(model, limits(EBTS_MEMORY_CUDA));
        const auto pixels = picture(kWidth * kHeight, 5);
        const ebts_frame here = gray_frame(pixels);
        for (int i = 0; i < 3; ++i) {
            const DeviceFrame there(here);
            check_same(
                outcome_of([&](const ebts_planes& planes) { return host.segment(here, planes); }),
                outcome_of([&](const ebts_planes& planes) {
                    return device.segment(there.frame, planes);
                }));
            device.self_test();
        }
        fake_tensorrt::state().gain = 0.5F;
        CHECK(ebts_self_test(device.get()) == EBTS_ERROR_SELF_TEST);
    }
}

TEST_CASE("whatever call of CUDA fails on a frame of the GPU, the next one is a result") {
    for (const bool live : {false, true}) {
        int number = 0;
        int told = 0;
        for (bool came = true; came;) {
            CAPTURE(live);
            CAPTURE(number);
            Site site;
            {
                fake_cuda::device().integrated = false;
                const ebts::Model model = site.open();
                auto options = limits(EBTS_MEMORY_CUDA);
                options.live = live ? 1 : 0;
                const auto pixels = picture(kWidth * kHeight, 3);
                ebts_session* session = nullptr;
                auto there = std::make_unique<DeviceFrame>(gray_frame(pixels));
                const auto segment = [&] {
                    auto result = ebts::sized<ebts_result>();
                    if (!live) return ebts_segment(session, &there->frame, nullptr, &result);
                    const ebts_status status = ebts_submit(session, &there->frame);
                    if (status != EBTS_OK) return status;
                    return ebts_poll(session, 60000000, nullptr, &result);
                };
                fake_cuda::fail(++number, cudaErrorLaunchFailure);
                if (ebts_session_create(model.get(), &options, &session) == EBTS_OK) {
                    const ebts_status status = segment();
                    came = fake_cuda::failed();
                    const bool failed = status != EBTS_OK;
                    if (failed) {
                        ++told;
                        CHECK(came);
                        CHECK((status == EBTS_ERROR_BACKEND || status == EBTS_ERROR_FRAME));
                    }
                    fake_cuda::fail(0);
                    there = nullptr;  // and nothing that was left undone may read it later
                    there = std::make_unique<DeviceFrame>(gray_frame(pixels));
                    CHECK(segment() == EBTS_OK);
                    auto counts = ebts::sized<ebts_counts>();
                    REQUIRE(ebts_session_counts(session, &counts) == EBTS_OK);
                    CHECK(counts.frames == 2);
                    CHECK(counts.errors == (failed ? 1 : 0));
                    CHECK(counts.results == (failed ? 1 : 2));
                    ebts_session_destroy(session);
                } else {
                    CHECK(fake_cuda::failed());
                }
            }
            CHECK(fake_cuda::living() == 0);
            CHECK(fake_tensorrt::state().living == 0);
        }
        CHECK(told > 15);  // all but the wait for a stream that has nothing left to do
    }
}
