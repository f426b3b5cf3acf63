// The C ABI: checks what comes in, and turns what is thrown into a status.
#include "edge_bts/edge_bts.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "checks.hpp"
#include "errors.hpp"
#include "handles.hpp"
#include "live.hpp"
#include "pipeline.hpp"

#define EBTS_TEXT(value) #value
#define EBTS_DOTTED(a, b, c) EBTS_TEXT(a) "." EBTS_TEXT(b) "." EBTS_TEXT(c)

using edge_bts::Counts;
using edge_bts::Failure;
using edge_bts::Job;
using edge_bts::Limits;
using edge_bts::Live;
using edge_bts::Models;
using edge_bts::Pipeline;
using edge_bts::Planes;

namespace {

using edge_bts::check_frame;
using edge_bts::check_options;
using edge_bts::check_planes;
using edge_bts::fail;
using edge_bts::fail_null;
using edge_bts::guarded;
using edge_bts::take;

/// What ebts_segment needs.
struct Direct {
    Direct(std::shared_ptr<const edge_bts::Model> model, const Limits& limits)
        : pipeline(std::move(model), limits),
          measurer(limits.max_height, limits.max_width, limits.max_components) {}

    Pipeline pipeline;
    edge_bts::Measurer measurer;
    std::mutex mutex;  ///< Of the counts.
    Counts counts;
};

/// One of the two is there.
struct Session {
    std::unique_ptr<Direct> direct;
    std::unique_ptr<Live> live;
    /// Set while a thread is in ebts_segment or ebts_submit; in ebts_poll; in ebts_self_test.
    std::atomic_flag busy = ATOMIC_FLAG_INIT;
    std::atomic_flag polled = ATOMIC_FLAG_INIT;
    std::atomic_flag tested = ATOMIC_FLAG_INIT;

    const Pipeline& pipeline() const noexcept { return live ? live->pipeline() : direct->pipeline; }
};

using Sessions = edge_bts::Handles<ebts_session, Session>;

/// Whoever holds it is alone in what the flag stands for.
class Turn {
  public:
    explicit Turn(std::atomic_flag& flag) noexcept
        : flag_(flag), mine_(!flag.test_and_set(std::memory_order_acquire)) {}
    ~Turn() {
        if (mine_) flag_.clear(std::memory_order_release);
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    explicit operator bool() const noexcept { return mine_; }

  private:
    std::atomic_flag& flag_;
    bool mine_;
};

ebts_status fail_busy() noexcept {
    return fail(EBTS_ERROR_BUSY,
                "Expected a session that is free, but another thread is in it; make one for each.");
}

ebts_status fail_closed(const char* name) noexcept {
    return fail(EBTS_ERROR_CLOSED,
                "Expected %s that is open, but this one was closed or never opened; pass none "
                "after it was closed.",
                name);
}

ebts_status fail_kind(const char* call, const char* live) noexcept {
    return fail(EBTS_ERROR_ARGUMENT,
                "Expected a session for %s, but got one whose option live is %s; create another.",
                call, live);
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
    const edge_bts::Execution execution{options.threads, options.pin_threads != 0,
                                        options.cache_dir == nullptr ? "" : options.cache_dir};
    return {backend, execution, engines};
}

}  // namespace

extern "C" {

const char* ebts_version(void) {
    return EBTS_DOTTED(EBTS_VERSION_MAJOR, EBTS_VERSION_MINOR, EBTS_VERSION_PATCH);
}

const char* ebts_backends(void) {
    return edge_bts::backends();
}

const char* ebts_status_text(ebts_status status) {
    switch (status) {
        case EBTS_OK:
            return "ok";
        case EBTS_NOTHING_NEW:
            return "no new result";
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
        case EBTS_ERROR_CLOSED:
            return "closed, or never opened";
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
        case EBTS_ERROR_STALLED:
            return "no result in time";
        case EBTS_ERROR_MEMORY:
            return "out of memory";
        case EBTS_ERROR_INTERNAL:
            return "internal error";
    }
    return "unknown status";
}

const char* ebts_last_error(void) {
    return edge_bts::sentence();
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
        *model =
            Models::table().add(edge_bts::open_model(path, trust_of(how), choice_of(how), log));
        return EBTS_OK;
    });
}

void ebts_model_close(ebts_model* model) {
    Models::table().remove(model);
}

ebts_status ebts_model_describe(const ebts_model* model, ebts_model_info* info) {
    if (model == nullptr) return fail_null("model");
    if (info == nullptr) return fail_null("info");
    const ebts_status status = edge_bts::check_size(
        info->struct_size, edge_bts::kFirstSize<ebts_model_info>, "ebts_model_info");
    if (status != EBTS_OK) return status;
    const auto held = Models::table().get(model);
    if (!held) return fail_closed("a model");
    const edge_bts::Model& of = *held;
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
    const auto held = Models::table().get(model);
    if (!held) return fail_closed("a model");
    const double threshold = held->settings.presence_threshold;
    if (how.presence_keep > threshold) {
        return fail(EBTS_ERROR_ARGUMENT,
                    "Expected presence_keep up to the model's presence_threshold of %g, but got "
                    "%g; 0 stands for none.",
                    threshold, how.presence_keep);
    }
    return guarded([&] {
        const std::uint32_t most =
            how.max_components == 0 ? edge_bts::kDefaultComponents : how.max_components;
        const Limits limits{static_cast<int>(how.max_height),
                            static_cast<int>(how.max_width),
                            static_cast<int>(most),
                            how.deadline_us,
                            how.presence_keep,
                            how.memory};
        auto made = std::make_shared<Session>();
        if (how.live == 0) {
            made->direct = std::make_unique<Direct>(held, limits);
        } else {
            const std::uint64_t stale =
                how.stale_us == 0 ? 2 * std::uint64_t{how.deadline_us} : how.stale_us;
            made->live = std::make_unique<Live>(
                held, limits,
                edge_bts::Liveness{std::chrono::microseconds(stale), how.ready, how.ready_user});
        }
        *session = Sessions::table().add(std::move(made));
        return EBTS_OK;
    });
}

void ebts_session_destroy(ebts_session* session) {
    std::shared_ptr<Session> held = Sessions::table().remove(session);
    if (!held) return;
    if (held->live) {
        held->live->stop();
        if (held->live->is_own_thread()) {
            Live& live = *held->live;
            live.release(std::move(held));
            return;
        }
    }
    // Calls that are in the session hold it too.
    while (held.use_count() > 1) std::this_thread::sleep_for(std::chrono::microseconds(50));
}

ebts_status ebts_self_test(ebts_session* session) {
    if (session == nullptr) return fail_null("session");
    const auto held = Sessions::table().get(session);
    if (!held) return fail_closed("a session");
    // Of a live session the frames go on coming in while it is tested.
    const Turn turn(held->live ? held->tested : held->busy);
    if (!turn) return fail_busy();
    const edge_bts::Model& model = held->pipeline().model();
    if (!model.golden) {
        return fail(EBTS_ERROR_BUNDLE,
                    "Expected golden frames to test with, but the bundle of %s has none; export "
                    "it again.",
                    model.name.c_str());
    }
    return guarded([&] {
        const edge_bts::Difference came =
            held->live ? held->live->self_test() : held->direct->pipeline.self_test();
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
    const auto held = Sessions::table().get(session);
    if (!held) return fail_closed("a session");
    if (held->live) return fail_kind("ebts_segment", "set");
    const Turn turn(held->busy);
    if (!turn) return fail_busy();
    Direct& direct = *held->direct;
    const auto since = edge_bts::Clock::now();
    const auto count = [&direct](std::uint64_t Counts::* what) {
        const std::lock_guard lock(direct.mutex);
        return ++(direct.counts.*what);
    };
    ebts_frame image{};
    ebts_planes given{};
    Job job{};
    Planes out;
    const std::uint64_t sequence = count(&Counts::frames);
    ebts_status status =
        edge_bts::check_size(result->struct_size, edge_bts::kFirstSize<ebts_result>, "ebts_result");
    if (status == EBTS_OK) status = take(frame, "ebts_frame", image);
    if (status == EBTS_OK && planes != nullptr) status = take(planes, "ebts_planes", given);
    if (status == EBTS_OK) status = check_frame(image, direct.pipeline.limits(), job);
    if (status == EBTS_OK) status = check_planes(given, job.width, job.height, out);
    if (status == EBTS_OK) {
        status = guarded([&] {
            ebts_result made{};
            job.sequence = sequence;
            direct.pipeline.run(job, std::nullopt, out, since, direct.measurer, made);
            edge_bts::give(made, result);
            return EBTS_OK;
        });
    }
    count(status == EBTS_OK ? &Counts::results : &Counts::errors);
    return status;
}

ebts_status ebts_submit(ebts_session* session, const ebts_frame* frame) {
    if (session == nullptr) return fail_null("session");
    if (frame == nullptr) return fail_null("frame");
    const auto held = Sessions::table().get(session);
    if (!held) return fail_closed("a session");
    if (!held->live) return fail_kind("ebts_submit", "0");
    const Turn turn(held->busy);
    if (!turn) return fail_busy();
    ebts_frame image{};
    Job job{};
    ebts_status status = take(frame, "ebts_frame", image);
    if (status == EBTS_OK) status = check_frame(image, held->pipeline().limits(), job);
    if (status == EBTS_OK) {
        status = guarded([&] {
            held->live->submit(job);
            return EBTS_OK;
        });
    }
    if (status != EBTS_OK) held->live->refuse();
    return status;
}

ebts_status ebts_poll(ebts_session* session, uint32_t wait_us, const ebts_planes* planes,
                      ebts_result* result) {
    if (session == nullptr) return fail_null("session");
    if (result == nullptr) return fail_null("result");
    const auto held = Sessions::table().get(session);
    if (!held) return fail_closed("a session");
    if (!held->live) return fail_kind("ebts_poll", "0");
    const Turn turn(held->polled);
    if (!turn) return fail_busy();
    ebts_planes given{};
    ebts_status status =
        edge_bts::check_size(result->struct_size, edge_bts::kFirstSize<ebts_result>, "ebts_result");
    if (status == EBTS_OK && planes != nullptr) status = take(planes, "ebts_planes", given);
    if (status != EBTS_OK) return status;
    const auto check = [&given](int width, int height, Planes& out) {
        return check_planes(given, width, height, out);
    };
    Planes out;
    ebts_result made{};
    status = held->live->poll(std::chrono::microseconds(wait_us), check, out, made);
    if (status == EBTS_OK) edge_bts::give(made, result);
    return status;
}

ebts_status ebts_session_counts(const ebts_session* session, ebts_counts* counts) {
    if (session == nullptr) return fail_null("session");
    if (counts == nullptr) return fail_null("counts");
    const auto held = Sessions::table().get(session);
    if (!held) return fail_closed("a session");
    const ebts_status status =
        edge_bts::check_size(counts->struct_size, edge_bts::kFirstSize<ebts_counts>, "ebts_counts");
    if (status != EBTS_OK) return status;
    Counts now;
    if (held->live) {
        now = held->live->counts();
    } else {
        const std::lock_guard lock(held->direct->mutex);
        now = held->direct->counts;
    }
    const std::uint64_t pending = now.frames - now.results - now.errors - now.dropped;
    edge_bts::give({0, now.frames, now.results, now.errors, now.dropped, pending}, counts);
    return EBTS_OK;
}

}  // extern "C"
