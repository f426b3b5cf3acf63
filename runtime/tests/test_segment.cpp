// A session around a network that the test controls: health, limits, memory, threads.
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "failure.hpp"
#include "fake_network.hpp"
#include "session.hpp"
#include "support.hpp"

namespace {

using support::bright_square;
using support::fake_model;
using support::frame_of;
using support::limits_of;
using support::Session;
using support::session_of;
using support::sized;

ebts_result segment(ebts_session* session, const ebts_frame& frame, std::uint8_t* mask = nullptr) {
    auto planes = sized<ebts_planes>();
    planes.mask = mask;
    auto result = sized<ebts_result>();
    REQUIRE(ebts_segment(session, &frame, &planes, &result) == EBTS_OK);
    return result;
}

/// Memory whose last byte lies before a page that may not be touched.
class Guarded {
  public:
    explicit Guarded(std::size_t size) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        const std::size_t pages = (size + page - 1) / page;
        all_ = (pages + 1) * page;
        base_ = static_cast<std::uint8_t*>(
            mmap(nullptr, all_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        REQUIRE(base_ != MAP_FAILED);
        REQUIRE(mprotect(base_ + pages * page, page, PROT_NONE) == 0);
        data = base_ + pages * page - size;
    }
    ~Guarded() { munmap(base_, all_); }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;

    std::uint8_t* data;

  private:
    std::uint8_t* base_;
    std::size_t all_;
};

}  // namespace

TEST_CASE("what the network marks comes back as one component") {
    const auto model = fake_model();
    const Session session = session_of(model);
    const auto pixels = bright_square();
    std::vector<std::uint8_t> mask(1600, 9);
    const ebts_result result = segment(session.get(), frame_of(pixels.data(), 40, 40), mask.data());
    CHECK(result.health == EBTS_HEALTH_OK);
    REQUIRE(result.component_count == 1);
    CHECK(result.components[0]->area_px == 400);
    CHECK(mask[40 * 20 + 20] == 1);
    CHECK(mask[0] == 0);
}

TEST_CASE("outputs that are no numbers, or none of a probability, empty the mask and say so") {
    const float inf = std::numeric_limits<float>::infinity();
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::uint32_t both = EBTS_HEALTH_NAN | EBTS_HEALTH_OUT_OF_RANGE;
    const std::pair<std::vector<float>, std::uint32_t> cases[] = {
        {{nan}, EBTS_HEALTH_NAN},
        {{inf}, EBTS_HEALTH_NAN},
        {{-inf}, EBTS_HEALTH_NAN},
        {{1.01F}, EBTS_HEALTH_OUT_OF_RANGE},
        {{-0.01F}, EBTS_HEALTH_OUT_OF_RANGE},
        {{nan, 2.0F}, both},
        {{1.00001F, -0.00001F}, EBTS_HEALTH_OK},  // what a sigmoid may round to
    };
    for (const auto& [values, health] : cases) {
        const auto model =
            fake_model([&values](const std::vector<float>& in, std::vector<float>& out) {
                out = in;
                std::copy(values.begin(), values.end(), out.begin() + 500);
            });
        const Session session = session_of(model);
        const auto pixels = bright_square();
        std::vector<std::uint8_t> mask(1600, 9);
        const ebts_result result =
            segment(session.get(), frame_of(pixels.data(), 40, 40), mask.data());
        CHECK((result.health & both) == health);
        CHECK((result.component_count == 0) == (health != EBTS_HEALTH_OK));
        CHECK((std::count(mask.begin(), mask.end(), 0) == 1600) == (health != EBTS_HEALTH_OK));
        CHECK(((result.health & EBTS_HEALTH_EMPTY) != 0) == (health != EBTS_HEALTH_OK));
        CHECK(((result.health & EBTS_HEALTH_UNUSABLE) != 0) == (health != EBTS_HEALTH_OK));
    }
}

TEST_CASE("a frame that takes longer than its deadline is late, whatever it shows") {
    const auto model = fake_model([](const std::vector<float>& in, std::vector<float>& out) {
        std::this_thread::sleep_for(std::chrono::milliseconds(3));
        out = in;
    });
    const auto pixels = bright_square();
    const ebts_frame frame = frame_of(pixels.data(), 40, 40);
    auto options = limits_of();
    for (const auto& [deadline, health] : {std::pair<std::uint32_t, int>{1000, EBTS_HEALTH_LATE},
                                           {0, EBTS_HEALTH_OK},
                                           {600000000, EBTS_HEALTH_OK}}) {
        options.deadline_us = deadline;
        const Session session = session_of(model, options);
        CHECK(segment(session.get(), frame).health == static_cast<std::uint32_t>(health));
    }
}

TEST_CASE("a network that fails is an error, and the next frame is a result") {
    int calls = 0;
    const auto model = fake_model([&calls](const std::vector<float>& in, std::vector<float>& out) {
        if (++calls == 2) throw edge_bts::Failure(EBTS_ERROR_BACKEND, "Expected a run, but no.");
        if (calls == 3) throw 5;
        out = in;
    });
    const Session session = session_of(model);
    const auto pixels = bright_square();
    const ebts_frame frame = frame_of(pixels.data(), 40, 40);
    std::vector<std::uint8_t> mask(1600, 9);
    auto planes = sized<ebts_planes>();
    planes.mask = mask.data();
    auto result = sized<ebts_result>();
    CHECK(ebts_segment(session.get(), &frame, nullptr, &result) == EBTS_OK);
    const ebts_result before = result;
    CHECK(ebts_segment(session.get(), &frame, &planes, &result) == EBTS_ERROR_BACKEND);
    CHECK(std::string(ebts_last_error()) == "Expected a run, but no.");
    CHECK(ebts_segment(session.get(), &frame, &planes, &result) == EBTS_ERROR_INTERNAL);
    CHECK(std::memcmp(&before, &result, sizeof result) == 0);
    CHECK(std::count(mask.begin(), mask.end(), 9) == 1600);
    CHECK(ebts_segment(session.get(), &frame, &planes, &result) == EBTS_OK);
    CHECK(result.sequence == 4);
}

TEST_CASE("a golden frame that is not reproduced fails the self-test") {
    for (const float expected : {0.25F, 0.75F}) {
        const auto answer = [](const std::vector<float>&, std::vector<float>& out) {
            std::fill(out.begin(), out.end(), 0.75F);
        };
        const auto model = fake_model(
            answer, edge_bts::Golden{edge_bts::Bytes(1024, 9), std::vector<float>(1024, expected),
                                     0.5F, 0.01, 0.005});
        const Session session = session_of(model);
        CHECK(ebts_self_test(session.get()) ==
              (expected == 0.75F ? EBTS_OK : EBTS_ERROR_SELF_TEST));
    }
}

TEST_CASE(
    "a frame says in which memory it lies, and no backend but TensorRT takes any but the host's") {
    const auto model = fake_model();
    auto options = limits_of();
    ebts_session* none = nullptr;
    for (const std::uint32_t live : {0U, 1U}) {
        options.live = live;
        options.memory = EBTS_MEMORY_CUDA;
        CHECK(ebts_session_create(model.get(), &options, &none) == EBTS_ERROR_INCOMPATIBLE);
        CHECK(std::string(ebts_last_error()).find("tensorrt") != std::string::npos);
        options.memory = 2;
        CHECK(ebts_session_create(model.get(), &options, &none) == EBTS_ERROR_ARGUMENT);
        CHECK(none == nullptr);
    }
    const Session session = session_of(model);
    const auto pixels = bright_square();
    ebts_frame frame = frame_of(pixels.data(), 40, 40);
    auto result = sized<ebts_result>();
    const auto status = [&] { return ebts_segment(session.get(), &frame, nullptr, &result); };
    for (const std::uint32_t memory : {std::uint32_t{EBTS_MEMORY_CUDA}, 2U, 0xFFFFFFFFU}) {
        frame.memory = memory;
        CHECK(status() == EBTS_ERROR_FRAME);
    }
    frame.memory = EBTS_MEMORY_HOST;
    frame.stream = &frame;
    CHECK(status() == EBTS_ERROR_FRAME);
    frame.stream = nullptr;
    CHECK(status() == EBTS_OK);
}

TEST_CASE("a result knows its frame's spacing") {
    const auto model = fake_model();
    const Session session = session_of(model);
    const auto pixels = bright_square();
    ebts_frame frame = frame_of(pixels.data(), 40, 40);
    CHECK(segment(session.get(), frame).mm_per_pixel == 0);
    frame.mm_per_pixel = 0.25;
    const ebts_result result = segment(session.get(), frame);
    CHECK(result.mm_per_pixel == 0.25);
    CHECK(result.components[0]->area_mm2 == 400 * 0.25 * 0.25);
}

TEST_CASE("a second thread finds the session busy") {
    std::atomic<bool> inside{false};
    std::atomic<bool> leave{false};
    const auto model = fake_model([&](const std::vector<float>& in, std::vector<float>& out) {
        inside = true;
        while (!leave) std::this_thread::yield();
        out = in;
    });
    const Session session = session_of(model);
    const auto pixels = bright_square();
    const ebts_frame frame = frame_of(pixels.data(), 40, 40);
    ebts_status first = EBTS_ERROR_INTERNAL;
    std::thread other([&] {
        auto result = sized<ebts_result>();
        first = ebts_segment(session.get(), &frame, nullptr, &result);
    });
    while (!inside) std::this_thread::yield();
    auto result = sized<ebts_result>();
    CHECK(ebts_segment(session.get(), &frame, nullptr, &result) == EBTS_ERROR_BUSY);
    CHECK(ebts_self_test(session.get()) == EBTS_ERROR_BUSY);
    leave = true;
    other.join();
    CHECK(first == EBTS_OK);
    CHECK(ebts_segment(session.get(), &frame, nullptr, &result) == EBTS_OK);
}

TEST_CASE("frames of any size and format take nothing from the heap") {
    const auto model = fake_model();
    const Session session = session_of(model, limits_of(300));
    const auto noise = support::bytes(300 * 300 * 4, 1);
    std::vector<std::uint8_t> mask(300 * 300);
    std::vector<float> probability(300 * 300);
    auto planes = sized<ebts_planes>();
    planes.mask = mask.data();
    auto result = sized<ebts_result>();
    ebts_frame broken = frame_of(noise.data(), 301, 1);
    const long before = support::allocations();
    int failed = 0;
    for (std::uint32_t i = 0; i < 400; ++i) {
        const std::uint32_t format = 1 + i % 8;
        ebts_frame frame = frame_of(noise.data(), 1 + (i * 97) % 300, 300 - (i * 61) % 300, format);
        if (i % 3 == 0) frame.roi = {0, 0, 1 + int(frame.width) / 2, 1 + int(frame.height) / 2};
        planes.probability = i % 2 == 0 ? probability.data() : nullptr;
        failed += ebts_segment(session.get(), &frame, &planes, &result) != EBTS_OK;
        failed += ebts_segment(session.get(), &broken, &planes, &result) != EBTS_ERROR_TOO_LARGE;
    }
    const long after = support::allocations();
    CHECK(failed == 0);
    CHECK(result.components_found > 0);
    CHECK(after == before);
    const std::vector<int> proof(10);  // the counter counts
    CHECK(support::allocations() > after);
}

TEST_CASE("no byte outside the rows is read or written") {
    const auto model = fake_model();
    const Session session = session_of(model);
    const auto noise = support::bytes(64 * (64 * 4 + 6), 1);
    const std::size_t bytes[] = {0, 1, 2, 3, 3, 4, 4, 4, 1};
    for (std::uint32_t format = EBTS_GRAY8; format <= EBTS_NV12; ++format) {
        for (const auto& [width, height] :
             {std::pair<std::uint32_t, std::uint32_t>{1, 1}, {37, 23}, {64, 64}, {2, 61}}) {
            const std::size_t row = bytes[format] * width;
            const std::size_t pitch = row + 6;
            const std::size_t count = static_cast<std::size_t>(width) * height;
            const Guarded image(pitch * (height - 1) + row);
            const Guarded mask(count);
            const Guarded probability(count * sizeof(float));
            std::memcpy(image.data, noise.data(), pitch * (height - 1) + row);
            ebts_frame frame = frame_of(image.data, width, height, format);
            frame.pitch = pitch;
            auto planes = sized<ebts_planes>();
            planes.mask = mask.data;
            planes.probability = reinterpret_cast<float*>(probability.data);
            auto result = sized<ebts_result>();
            CHECK(ebts_segment(session.get(), &frame, &planes, &result) == EBTS_OK);
            frame.roi = {static_cast<int>(width) - 1, static_cast<int>(height) - 1, 1, 1};
            CHECK(ebts_segment(session.get(), &frame, &planes, &result) == EBTS_OK);
        }
    }
}

TEST_CASE("a thousand sessions come and go, and each allocation may fail") {
    const auto model = fake_model();
    auto options = limits_of();
    for (int i = 0; i < 1000; ++i) session_of(model, options);
    for (const std::uint32_t live : {0U, 1U}) {
        options.live = live;
        int failures = 0;
        for (long number = 1;; ++number) {
            ebts_session* session = nullptr;
            support::fail_allocation(number);
            const ebts_status status = ebts_session_create(model.get(), &options, &session);
            support::fail_allocation(0);
            if (status == EBTS_OK) {
                ebts_session_destroy(session);
                break;
            }
            CHECK(status == EBTS_ERROR_MEMORY);
            CHECK(session == nullptr);
            ++failures;
        }
        CHECK(failures > 10);
    }
}
