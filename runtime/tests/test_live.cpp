// Live sessions around a network that the test controls, and the life of handles.
#include <doctest/doctest.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "allocations.hpp"
#include "failure.hpp"
#include "fake_network.hpp"
#include "session.hpp"
#include "support.hpp"

namespace {

using support::bright_square;
using support::counts_of;
using support::fake_model;
using support::FakeModel;
using support::frame_of;
using support::limits_of;
using support::Session;
using support::session_of;
using support::sized;

constexpr std::uint32_t kLong = 60000000;  // a minute; no test waits for it

/// Lets a network in only as often as it is told to.
class Gate {
  public:
    void open(int times = 1) {
        const std::lock_guard lock(mutex_);
        passes_ += times;
        changed_.notify_all();
    }
    void pass() {
        std::unique_lock lock(mutex_);
        ++inside_;
        changed_.notify_all();
        changed_.wait(lock, [this] { return passes_ > 0; });
        --passes_;
    }
    /// Waits until the network has been entered that often.
    void await(int entered) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return inside_ >= entered; });
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    int passes_ = 0;
    int inside_ = 0;
};

FakeModel gated(Gate& gate) {
    return fake_model([&gate](const std::vector<float>& in, std::vector<float>& out) {
        gate.pass();
        out = in;
    });
}

ebts_session_options live_limits(std::uint32_t side = 64) {
    ebts_session_options options = limits_of(side);
    options.live = 1;
    return options;
}

ebts_status submit(const Session& session, const std::vector<std::uint8_t>& pixels,
                   std::uint64_t timestamp = 0) {
    ebts_frame frame = frame_of(pixels.data(), 40, 40);
    frame.timestamp = timestamp;
    return ebts_submit(session.get(), &frame);
}

ebts_status poll(const Session& session, ebts_result& result, std::uint32_t wait = kLong,
                 const ebts_planes* planes = nullptr) {
    result.struct_size = sizeof result;
    return ebts_poll(session.get(), wait, planes, &result);
}

/// Polls until a result is there; a machine under load may take longer than stale_us.
ebts_status past_stalls(const Session& session, ebts_result& result) {
    ebts_status status = EBTS_ERROR_STALLED;
    while (status == EBTS_ERROR_STALLED) status = poll(session, result);
    return status;
}

/// Waits until nothing of the session runs or waits to be run.
void settle(const Session& session, std::uint64_t pending) {
    while (counts_of(session.get()).pending > pending) std::this_thread::yield();
}

void check_sum(const ebts_counts& counts) {
    CHECK(counts.frames == counts.results + counts.errors + counts.dropped + counts.pending);
    CHECK(counts.pending <= 3);
}

}  // namespace

TEST_CASE("what is submitted comes out once, as ebts_segment gives it") {
    const auto model = fake_model();
    const Session direct = session_of(model);
    const Session live = session_of(model, live_limits());
    const auto pixels = bright_square();
    const ebts_point corners[] = {{3, 2}, {38, 2}, {22, 40}};
    for (const int kind : {0, 1, 2}) {
        ebts_frame frame = frame_of(pixels.data(), 40, 40);
        frame.timestamp = 77;
        frame.mm_per_pixel = 0.5;
        if (kind == 1) frame.roi = {4, 6, 30, 29};
        if (kind == 2) frame.sector = corners, frame.sector_count = 3;
        std::vector<std::uint8_t> masks[2] = {std::vector<std::uint8_t>(1600, 9),
                                              std::vector<std::uint8_t>(1600, 9)};
        std::vector<float> probabilities[2] = {std::vector<float>(1600, 9),
                                               std::vector<float>(1600, 9)};
        ebts_planes planes[2] = {sized<ebts_planes>(), sized<ebts_planes>()};
        ebts_result results[2] = {sized<ebts_result>(), sized<ebts_result>()};
        for (int i = 0; i < 2; ++i) {
            planes[i].mask = masks[i].data();
            planes[i].probability = probabilities[i].data();
        }
        REQUIRE(ebts_segment(direct.get(), &frame, &planes[0], &results[0]) == EBTS_OK);
        REQUIRE(ebts_submit(live.get(), &frame) == EBTS_OK);
        REQUIRE(poll(live, results[1], kLong, &planes[1]) == EBTS_OK);
        CHECK(masks[0] == masks[1]);
        CHECK(probabilities[0] == probabilities[1]);
        REQUIRE(results[0].component_count == 1);
        REQUIRE(results[1].component_count == 1);
        CHECK(results[1].components[0]->area_px == results[0].components[0]->area_px);
        CHECK(results[1].components[0]->longest_mm == results[0].components[0]->longest_mm);
        CHECK(results[1].presence == results[0].presence);
        CHECK(results[1].health == results[0].health);
        CHECK(results[1].timestamp == 77);
        CHECK(results[1].sequence == results[0].sequence);
        CHECK(results[1].newer_frames == 0);
        CHECK(results[1].age_ms >= results[1].wait_ms);
        CHECK(poll(live, results[1], 0) == EBTS_NOTHING_NEW);
    }
    check_sum(counts_of(live.get()));
    CHECK(counts_of(live.get()).results == 3);
}

TEST_CASE("of a burst the newest frame is run, and the others are counted as dropped") {
    Gate gate;
    const auto model = gated(gate);
    const Session session = session_of(model, live_limits());
    const auto pixels = bright_square();
    REQUIRE(submit(session, pixels, 1) == EBTS_OK);
    gate.await(1);
    // The network stands still all the while: no submit waits for it.
    for (std::uint64_t i = 2; i <= 50; ++i) REQUIRE(submit(session, pixels, i) == EBTS_OK);
    CHECK(counts_of(session.get()).pending == 2);
    auto result = sized<ebts_result>();
    CHECK(poll(session, result, 0) == EBTS_NOTHING_NEW);
    gate.open();
    REQUIRE(poll(session, result) == EBTS_OK);
    CHECK(result.timestamp == 1);
    CHECK(result.newer_frames == 49);
    gate.open();
    REQUIRE(poll(session, result) == EBTS_OK);
    CHECK(result.timestamp == 50);
    CHECK(result.sequence == 50);
    CHECK(result.newer_frames == 0);
    const ebts_counts counts = counts_of(session.get());
    check_sum(counts);
    CHECK(counts.frames == 50);
    CHECK(counts.results == 2);
    CHECK(counts.dropped == 48);
}

TEST_CASE("a result that nobody fetches gives way to a newer one") {
    const auto model = fake_model();
    const Session session = session_of(model, live_limits());
    const auto pixels = bright_square();
    for (std::uint64_t i = 1; i <= 3; ++i) {
        REQUIRE(submit(session, pixels, i) == EBTS_OK);
        settle(session, 1);
        while (counts_of(session.get()).dropped != i - 1) std::this_thread::yield();
    }
    auto result = sized<ebts_result>();
    while (result.timestamp != 3) REQUIRE(poll(session, result) == EBTS_OK);
    check_sum(counts_of(session.get()));
    CHECK(counts_of(session.get()).pending == 0);
}

TEST_CASE("a result stays whole until the next one is handed out") {
    const auto model = fake_model();
    const Session session = session_of(model, live_limits());
    const auto pixels = bright_square();
    const std::vector<std::uint8_t> black(1600);
    auto result = sized<ebts_result>();
    REQUIRE(submit(session, pixels) == EBTS_OK);
    REQUIRE(poll(session, result) == EBTS_OK);
    CHECK(poll(session, result, 0) == EBTS_NOTHING_NEW);
    const ebts_component before = *result.components[0];
    const std::vector<ebts_point> contour(before.contour, before.contour + before.contour_count);
    for (int i = 0; i < 20; ++i) {
        REQUIRE(submit(session, i % 2 == 0 ? black : pixels) == EBTS_OK);
        settle(session, 1);
    }
    CHECK(std::memcmp(&before, result.components[0], sizeof before) == 0);
    CHECK(std::memcmp(contour.data(), before.contour, contour.size() * sizeof(ebts_point)) == 0);
}

TEST_CASE("a slow network makes results late and stale, and says when it stalls") {
    Gate gate;
    const auto model = gated(gate);
    ebts_session_options options = live_limits();
    options.deadline_us = 1000;
    options.stale_us = 2000;
    const Session session = session_of(model, options);
    const auto pixels = bright_square();
    auto result = sized<ebts_result>();
    result.sequence = 99;
    CHECK(poll(session, result, 5000) == EBTS_NOTHING_NEW);  // no frame, no stall
    REQUIRE(submit(session, pixels) == EBTS_OK);
    CHECK(poll(session, result) == EBTS_ERROR_STALLED);  // long before its minute is over
    CHECK(poll(session, result, 0) == EBTS_ERROR_STALLED);
    const auto before = std::chrono::steady_clock::now();
    CHECK(poll(session, result, 20000) == EBTS_ERROR_STALLED);  // told again, after the wait
    CHECK(std::chrono::steady_clock::now() - before >= std::chrono::milliseconds(20));
    CHECK(result.sequence == 99);
    gate.open();
    REQUIRE(past_stalls(session, result) == EBTS_OK);
    CHECK(result.health == (EBTS_HEALTH_LATE | EBTS_HEALTH_STALE));
    CHECK((result.health & EBTS_HEALTH_UNUSABLE) != 0);
    CHECK(result.age_ms > 2);
    CHECK(poll(session, result, 5000) == EBTS_NOTHING_NEW);  // the stall is over
    check_sum(counts_of(session.get()));
}

TEST_CASE("a result in time that is fetched too late is stale and not late") {
    const auto model = fake_model();
    ebts_session_options options = live_limits();
    options.deadline_us = kLong;
    options.stale_us = 3000;
    const Session session = session_of(model, options);
    REQUIRE(submit(session, bright_square()) == EBTS_OK);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    auto result = sized<ebts_result>();
    REQUIRE(past_stalls(session, result) == EBTS_OK);
    CHECK(result.health == EBTS_HEALTH_STALE);
}

TEST_CASE("a frame on which the network fails is told and counted, and the next is a result") {
    int calls = 0;
    const auto model = fake_model([&calls](const std::vector<float>& in, std::vector<float>& out) {
        if (++calls == 1) throw edge_bts::Failure(EBTS_ERROR_BACKEND, "Expected a run, but no.");
        if (calls == 2) throw 5;
        out = in;
    });
    const Session session = session_of(model, live_limits());
    const auto pixels = bright_square();
    auto result = sized<ebts_result>();
    REQUIRE(submit(session, pixels) == EBTS_OK);
    CHECK(poll(session, result) == EBTS_ERROR_BACKEND);
    CHECK(std::string(ebts_last_error()) == "Expected a run, but no.");
    CHECK(poll(session, result, 0) == EBTS_NOTHING_NEW);
    REQUIRE(submit(session, pixels) == EBTS_OK);
    CHECK(poll(session, result) == EBTS_ERROR_INTERNAL);
    REQUIRE(submit(session, pixels) == EBTS_OK);
    CHECK(poll(session, result) == EBTS_OK);
    CHECK(result.sequence == 3);
    ebts_frame none = frame_of(pixels.data(), 40, 0);
    CHECK(ebts_submit(session.get(), &none) == EBTS_ERROR_FRAME);
    const ebts_counts counts = counts_of(session.get());
    check_sum(counts);
    CHECK(counts.frames == 4);
    CHECK(counts.errors == 3);
    CHECK(counts.pending == 0);
}

TEST_CASE("planes that do not fit are refused and the result waits") {
    const auto model = fake_model();
    const Session session = session_of(model, live_limits());
    REQUIRE(submit(session, bright_square()) == EBTS_OK);
    std::vector<std::uint8_t> mask(1600, 9);
    auto planes = sized<ebts_planes>();
    planes.mask = mask.data();
    planes.mask_pitch = 39;
    auto result = sized<ebts_result>();
    CHECK(poll(session, result, kLong, &planes) == EBTS_ERROR_PLANE);
    CHECK(std::count(mask.begin(), mask.end(), 9) == 1600);
    planes.mask_pitch = 40;
    planes.width = 40;
    planes.height = 39;
    CHECK(poll(session, result, kLong, &planes) == EBTS_ERROR_PLANE);
    planes.width = 39;
    planes.height = 64;
    CHECK(poll(session, result, kLong, &planes) == EBTS_ERROR_PLANE);
    CHECK(std::count(mask.begin(), mask.end(), 9) == 1600);
    planes.width = 40;
    CHECK(poll(session, result, kLong, &planes) == EBTS_OK);
    CHECK(std::count(mask.begin(), mask.end(), 1) == 400);
}

TEST_CASE("ready is called with its pointer, and may poll, submit and destroy") {
    const auto model = fake_model();
    struct Loop {
        ebts_session* session = nullptr;
        std::vector<std::uint8_t> pixels = bright_square();
        std::vector<std::uint64_t> seen = {};
        std::atomic<bool> over{false};
    } loop;
    ebts_session_options options = live_limits();
    options.ready_user = &loop;
    options.ready = [](void* user) {
        Loop& of = *static_cast<Loop*>(user);
        auto result = sized<ebts_result>();
        if (ebts_poll(of.session, 0, nullptr, &result) == EBTS_OK)
            of.seen.push_back(result.sequence);
        ebts_frame frame = frame_of(of.pixels.data(), 40, 40);
        if (of.seen.size() < 5) {
            // The first submit, by another thread, may not have returned yet.
            while (ebts_submit(of.session, &frame) == EBTS_ERROR_BUSY) std::this_thread::yield();
        } else {
            ebts_session_destroy(of.session);
            if (ebts_submit(of.session, &frame) == EBTS_ERROR_CLOSED) of.over = true;
        }
    };
    REQUIRE(ebts_session_create(model.get(), &options, &loop.session) == EBTS_OK);
    ebts_frame frame = frame_of(loop.pixels.data(), 40, 40);
    REQUIRE(ebts_submit(loop.session, &frame) == EBTS_OK);
    while (!loop.over) std::this_thread::yield();
    CHECK(loop.seen == std::vector<std::uint64_t>{1, 2, 3, 4, 5});
}

TEST_CASE("a session that is destroyed ends the call that waits in it, and the frame that runs") {
    for (int round = 0; round < 50; ++round) {
        Gate gate;
        const auto model = gated(gate);
        ebts_session* session = session_of(model, live_limits()).release();
        const auto pixels = bright_square();
        const ebts_frame frame = frame_of(pixels.data(), 40, 40);
        REQUIRE(ebts_submit(session, &frame) == EBTS_OK);
        gate.await(1);
        REQUIRE(ebts_submit(session, &frame) == EBTS_OK);  // it waits
        std::thread poller([&] {
            auto result = sized<ebts_result>();
            ebts_status status = EBTS_NOTHING_NEW;
            while (status == EBTS_NOTHING_NEW || status == EBTS_OK) {
                status = ebts_poll(session, kLong, nullptr, &result);
            }
            if (status != EBTS_ERROR_CLOSED) std::terminate();
        });
        std::thread opener([&] {
            std::this_thread::yield();
            gate.open(2);  // the one that waits is run too, if this comes first
        });
        ebts_session_destroy(session);
        opener.join();
        poller.join();
    }
}

TEST_CASE("a session that is destroyed in the midst of ebts_segment lets it finish") {
    Gate gate;
    const auto model = gated(gate);
    ebts_session* session = session_of(model).release();
    const auto pixels = bright_square();
    ebts_status status = EBTS_ERROR_INTERNAL;
    std::atomic<bool> destroyed{false};
    std::thread other([&] {
        const ebts_frame frame = frame_of(pixels.data(), 40, 40);
        auto result = sized<ebts_result>();
        status = ebts_segment(session, &frame, nullptr, &result);
        if (destroyed) std::terminate();
    });
    gate.await(1);
    std::thread opener([&] {
        auto counts = sized<ebts_counts>();
        while (ebts_session_counts(session, &counts) == EBTS_OK) std::this_thread::yield();
        gate.open();  // only now that the handle is closed
    });
    ebts_session_destroy(session);
    other.join();
    destroyed = true;
    opener.join();
    CHECK(status == EBTS_OK);
}

TEST_CASE("closed handles are refused by every call, and closing twice is nothing") {
    for (const std::uint32_t live : {0U, 1U}) {
        auto model = fake_model();
        ebts_session_options options = limits_of();
        options.live = live;
        ebts_session* session = session_of(model, options).release();
        const auto pixels = bright_square();
        const ebts_frame frame = frame_of(pixels.data(), 40, 40);
        auto result = sized<ebts_result>();
        auto counts = sized<ebts_counts>();
        ebts_session_destroy(session);
        CHECK(ebts_segment(session, &frame, nullptr, &result) == EBTS_ERROR_CLOSED);
        CHECK(ebts_submit(session, &frame) == EBTS_ERROR_CLOSED);
        CHECK(ebts_poll(session, 0, nullptr, &result) == EBTS_ERROR_CLOSED);
        CHECK(ebts_self_test(session) == EBTS_ERROR_CLOSED);
        CHECK(ebts_session_counts(session, &counts) == EBTS_ERROR_CLOSED);
        ebts_session_destroy(session);
        ebts_model* closed = model.release();
        ebts_model_close(closed);
        ebts_model_close(closed);
        auto info = sized<ebts_model_info>();
        CHECK(ebts_model_describe(closed, &info) == EBTS_ERROR_CLOSED);
        CHECK(ebts_session_create(closed, &options, &session) == EBTS_ERROR_CLOSED);
        CHECK(session == nullptr);
        int nothing = 0;
        CHECK(ebts_self_test(reinterpret_cast<ebts_session*>(&nothing)) == EBTS_ERROR_CLOSED);
    }
}

TEST_CASE("NULL is refused by every call of a live session, and none of them is a frame") {
    const auto model = fake_model();
    const Session live = session_of(model, live_limits());
    const auto pixels = bright_square();
    const ebts_frame frame = frame_of(pixels.data(), 40, 40);
    auto result = sized<ebts_result>();
    auto counts = sized<ebts_counts>();
    CHECK(ebts_submit(nullptr, &frame) == EBTS_ERROR_ARGUMENT);
    CHECK(ebts_submit(live.get(), nullptr) == EBTS_ERROR_ARGUMENT);
    CHECK(ebts_poll(nullptr, 0, nullptr, &result) == EBTS_ERROR_ARGUMENT);
    CHECK(ebts_poll(live.get(), 0, nullptr, nullptr) == EBTS_ERROR_ARGUMENT);
    CHECK(ebts_session_counts(nullptr, &counts) == EBTS_ERROR_ARGUMENT);
    CHECK(ebts_session_counts(live.get(), nullptr) == EBTS_ERROR_ARGUMENT);
    CHECK(std::string(ebts_last_error()).find("NULL") != std::string::npos);
    CHECK(counts_of(live.get()).frames == 0);
}

TEST_CASE("the calls of one kind of session are refused by the other") {
    const auto model = fake_model();
    const Session direct = session_of(model);
    const Session live = session_of(model, live_limits());
    const auto pixels = bright_square();
    const ebts_frame frame = frame_of(pixels.data(), 40, 40);
    auto result = sized<ebts_result>();
    CHECK(ebts_segment(live.get(), &frame, nullptr, &result) == EBTS_ERROR_ARGUMENT);
    CHECK(ebts_submit(direct.get(), &frame) == EBTS_ERROR_ARGUMENT);
    CHECK(ebts_poll(direct.get(), 0, nullptr, &result) == EBTS_ERROR_ARGUMENT);
}

TEST_CASE("a second thread that polls finds the session busy, and submitting goes on") {
    const auto model = fake_model();
    ebts_session* session = session_of(model, live_limits()).release();
    auto result = sized<ebts_result>();
    std::thread poller([&] {
        auto mine = sized<ebts_result>();
        ebts_poll(session, kLong, nullptr, &mine);
        ebts_poll(session, kLong, nullptr, &mine);
    });
    while (ebts_poll(session, 0, nullptr, &result) != EBTS_ERROR_BUSY) std::this_thread::yield();
    const auto pixels = bright_square();
    const ebts_frame frame = frame_of(pixels.data(), 40, 40);
    CHECK(ebts_submit(session, &frame) == EBTS_OK);
    ebts_session_destroy(session);
    poller.join();
}

TEST_CASE("frames of a live session are taken while it is tested") {
    Gate gate;
    const auto answer = [&gate](const std::vector<float>& in, std::vector<float>& out) {
        gate.pass();
        out = in;
    };
    const auto model =
        fake_model(answer, edge_bts::Golden{edge_bts::Bytes(1024, 255),
                                            std::vector<float>(1024, 1.0F), 0.5F, 0.01, 0.005});
    const Session session = session_of(model, live_limits());
    ebts_status status = EBTS_ERROR_INTERNAL;
    std::thread tester([&] { status = ebts_self_test(session.get()); });
    gate.await(1);
    CHECK(submit(session, bright_square()) == EBTS_OK);
    CHECK(ebts_self_test(session.get()) == EBTS_ERROR_BUSY);
    gate.open(2);
    tester.join();
    CHECK(status == EBTS_OK);
    auto result = sized<ebts_result>();
    CHECK(poll(session, result) == EBTS_OK);
}

TEST_CASE("a live session takes nothing from the heap for a frame") {
    const auto model = fake_model();
    const Session session = session_of(model, live_limits(300));
    const auto noise = support::bytes(300 * 300 * 4, 1);
    std::vector<std::uint8_t> mask(300 * 300);
    std::vector<float> probability(300 * 300);
    auto planes = sized<ebts_planes>();
    planes.mask = mask.data();
    planes.probability = probability.data();
    auto result = sized<ebts_result>();
    int failed = 0;
    const long before = support::allocations();
    for (std::uint32_t i = 0; i < 200; ++i) {
        const ebts_frame frame =
            frame_of(noise.data(), 1 + (i * 97) % 300, 300 - (i * 61) % 300, 1 + i % 8);
        failed += ebts_submit(session.get(), &frame) != EBTS_OK;
        if (i % 3 != 0) failed += poll(session, result, kLong, &planes) != EBTS_OK;
    }
    CHECK(support::allocations() == before);
    CHECK(failed == 0);
}

TEST_CASE("frames are all accounted for, whatever the two threads and the network do") {
    std::atomic<int> calls{0};
    const auto model = fake_model([&calls](const std::vector<float>& in, std::vector<float>& out) {
        if (++calls % 7 == 0) throw edge_bts::Failure(EBTS_ERROR_BACKEND, "Expected luck.");
        out = in;
    });
    const Session session = session_of(model, live_limits());
    constexpr std::uint64_t kFrames = 5000;
    std::uint64_t results = 0;
    std::uint64_t told = 0;
    std::uint64_t last = 0;
    bool ordered = true;
    std::atomic<bool> over{false};
    std::thread poller([&] {
        auto result = sized<ebts_result>();
        while (true) {
            const bool end = over;
            const ebts_status status = poll(session, result, 100);
            results += status == EBTS_OK;
            told += status == EBTS_ERROR_BACKEND;
            if (status == EBTS_OK) {
                ordered = ordered && result.sequence > last && result.timestamp == result.sequence;
                last = result.sequence;
            }
            if (end && status == EBTS_NOTHING_NEW && counts_of(session.get()).pending == 0) break;
        }
    });
    const auto pixels = bright_square();
    for (std::uint64_t i = 1; i <= kFrames; ++i) {
        if (submit(session, pixels, i) != EBTS_OK) std::terminate();
        if (i % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    over = true;
    poller.join();
    const ebts_counts counts = counts_of(session.get());
    check_sum(counts);
    CHECK(counts.frames == kFrames);
    CHECK(counts.pending == 0);
    CHECK(counts.results == results);
    CHECK(counts.errors >= told);
    CHECK(counts.errors == std::uint64_t(calls / 7));
    CHECK(ordered);
    CHECK(results > 0);
}

TEST_CASE("eight threads with sessions of their own run ten thousand frames each") {
    const auto model = fake_model();
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (std::uint32_t number = 0; number < 8; ++number) {
        threads.emplace_back([&, number] {
            const auto options = limits_of(16);
            ebts_session* made = nullptr;
            if (ebts_session_create(model.get(), &options, &made) != EBTS_OK) std::terminate();
            const Session session(made);
            std::vector<std::uint8_t> pixels(256, 10);
            std::fill_n(pixels.begin() + 64, 16 * (number + 1), 200);
            const ebts_frame frame = frame_of(pixels.data(), 16, 16);
            auto result = sized<ebts_result>();
            for (int i = 0; i < 10000; ++i) {
                const ebts_status status = ebts_segment(session.get(), &frame, nullptr, &result);
                const bool right = status == EBTS_OK && result.component_count == 1 &&
                                   result.components[0]->area_px == 16 * (number + 1);
                wrong += right ? 0 : 1;
            }
            auto counts = sized<ebts_counts>();
            ebts_session_counts(session.get(), &counts);
            wrong += counts.results == 10000 ? 0 : 1;
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
}

TEST_CASE("a lesion that has shown stays down to presence_keep, until the region changes") {
    constexpr double kNeeded = 0.8;
    auto fake = std::make_shared<edge_bts::Model>();
    fake->settings = {32, 0.0F, 1.0F, 0.5F, kNeeded};
    fake->network = std::make_unique<support::FakeNetwork>(32, support::gray_is_probability);
    const FakeModel model(edge_bts::Models::table().add(fake));
    ebts_session_options options = limits_of();
    options.presence_keep = 0.6;
    const Session keeps = session_of(model, options);
    const Session plain = session_of(model);
    const auto shows = [](const Session& session, double presence, std::uint32_t width = 32) {
        const std::vector<std::uint8_t> pixels(32 * 32, static_cast<std::uint8_t>(255 * presence));
        const ebts_frame frame = frame_of(pixels.data(), width, 32);
        auto result = sized<ebts_result>();
        REQUIRE(ebts_segment(session.get(), &frame, nullptr, &result) == EBTS_OK);
        return (result.health & EBTS_HEALTH_EMPTY) == 0;
    };
    CHECK_FALSE(shows(keeps, 0.7));  // it has not shown yet
    CHECK(shows(keeps, 0.9));
    CHECK(shows(keeps, 0.7));
    CHECK(shows(keeps, 0.65));
    CHECK_FALSE(shows(keeps, 0.55));
    CHECK_FALSE(shows(keeps, 0.7));
    CHECK(shows(keeps, 0.9));
    CHECK_FALSE(shows(keeps, 0.7, 31));
    CHECK(shows(plain, 0.9));
    CHECK_FALSE(shows(plain, 0.7));
    options.presence_keep = 0.81;
    ebts_session* none = nullptr;
    CHECK(ebts_session_create(model.get(), &options, &none) == EBTS_ERROR_ARGUMENT);
    options.presence_keep = -0.1;
    CHECK(ebts_session_create(model.get(), &options, &none) == EBTS_ERROR_ARGUMENT);
}

TEST_CASE("a program that was built with an older header is served as it was then") {
    const auto model = fake_model();
    // The sizes of 0.1.0's first header; what lies behind them is another's memory.
    auto options = live_limits();
    options.struct_size = offsetof(ebts_session_options, live);
    const Session session = session_of(model, options);  // not live: the field is not looked at
    const auto pixels = bright_square();
    ebts_frame frame = frame_of(pixels.data(), 40, 40);
    frame.struct_size = offsetof(ebts_frame, sector);
    frame.sector_count = 77;
    frame.memory = 77;
    std::vector<std::uint8_t> mask(1600);
    auto planes = sized<ebts_planes>();
    planes.struct_size = offsetof(ebts_planes, width);
    planes.mask = mask.data();
    planes.width = planes.height = 1;
    ebts_result result;
    std::memset(&result, 0x5A, sizeof result);
    result.struct_size = offsetof(ebts_result, wait_ms);
    REQUIRE(ebts_segment(session.get(), &frame, &planes, &result) == EBTS_OK);
    CHECK(std::count(mask.begin(), mask.end(), 1) == 400);
    CHECK(result.struct_size == offsetof(ebts_result, wait_ms));
    CHECK(result.component_count == 1);
    CHECK(result.newer_frames == 0x5A5A5A5A5A5A5A5A);
    // Those of the header before frames could lie on a GPU.
    frame.sector_count = 0;
    frame.struct_size = offsetof(ebts_frame, memory);
    result.struct_size = offsetof(ebts_result, mm_per_pixel);
    REQUIRE(ebts_segment(session.get(), &frame, &planes, &result) == EBTS_OK);
    CHECK(result.newer_frames == 0);
    double untouched = 0;
    std::memcpy(&untouched, &result.mm_per_pixel, sizeof untouched);
    CHECK(untouched != 0);
    frame.struct_size -= 1;
    CHECK(ebts_segment(session.get(), &frame, nullptr, &result) == EBTS_ERROR_ARGUMENT);
    frame.struct_size = offsetof(ebts_frame, sector) + sizeof frame.sector / 2;
    CHECK(ebts_segment(session.get(), &frame, nullptr, &result) == EBTS_ERROR_ARGUMENT);
}
