// edge_bts.hpp - the C ABI for C++17: errors are exceptions, handles close themselves.
//
//   ebts::Model model("student.ebts", how);
//   auto limits = ebts::sized<ebts_session_options>();
//   limits.max_width = 1024;
//   limits.max_height = 768;
//   ebts::Session session(model, limits);
//
//   const ebts_result result = session.segment(frame, planes);
//
// and where the thread that has the frames must not wait
//
//   ebts::LiveSession live(model, limits);
//   live.submit(frame);                                  // the scanner's thread
//   if (const auto result = live.poll(planes)) ...       // the display's thread
//
// edge_bts.h is the manual: structs, units, threads, lifetimes and statuses are described there.
// This header adds no symbol to the library and works with any version of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "edge_bts/edge_bts.h"

namespace ebts {

/// A status that is not EBTS_OK; what() is ebts_last_error().
class Error : public std::runtime_error {
  public:
    explicit Error(ebts_status status) : std::runtime_error(ebts_last_error()), status_(status) {}

    ebts_status status() const noexcept { return status_; }

  private:
    ebts_status status_;
};

inline void check(ebts_status status) {
    if (status != EBTS_OK) throw Error(status);
}

/// A struct of the C ABI with its struct_size set and all else 0.
template <typename T>
T sized() noexcept {
    T value{};
    value.struct_size = sizeof(T);
    return value;
}

/// The health word in words, "OK" or e.g. "LATE EMPTY"; bits that this header does not know are
/// left out.
inline std::string health_words(std::uint32_t health) {
    constexpr std::pair<std::uint32_t, const char*> words[] = {
        {EBTS_HEALTH_LATE, "LATE"},
        {EBTS_HEALTH_STALE, "STALE"},
        {EBTS_HEALTH_EMPTY, "EMPTY"},
        {EBTS_HEALTH_NAN, "NAN"},
        {EBTS_HEALTH_OUT_OF_RANGE, "OUT_OF_RANGE"},
        {EBTS_HEALTH_SATURATED, "SATURATED"},
    };
    std::string text;
    for (const auto& [bit, word] : words) {
        if ((health & bit) != 0) text += (text.empty() ? "" : " ") + std::string(word);
    }
    return text.empty() ? "OK" : text;
}

/// An opened bundle. Moves, does not copy.
class Model {
  public:
    explicit Model(const std::string& path,
                   const ebts_model_options& options = sized<ebts_model_options>()) {
        check(ebts_model_open(path.c_str(), &options, &model_));
    }
    ~Model() { ebts_model_close(model_); }
    Model(Model&& other) noexcept : model_(std::exchange(other.model_, nullptr)) {}
    Model& operator=(Model&& other) noexcept {
        std::swap(model_, other.model_);
        return *this;
    }

    /// Its strings live as long as the model: not for a temporary one.
    ebts_model_info describe() const& {
        auto info = sized<ebts_model_info>();
        check(ebts_model_describe(model_, &info));
        return info;
    }
    ebts_model_info describe() const&& = delete;

    const ebts_model* get() const noexcept { return model_; }

  private:
    ebts_model* model_ = nullptr;
};

namespace detail {

/// What both kinds of sessions have. Moves, does not copy; may outlive its model.
class SessionHandle {
  public:
    void self_test() { check(ebts_self_test(session_)); }

    ebts_counts counts() const {
        auto counts = sized<ebts_counts>();
        check(ebts_session_counts(session_, &counts));
        return counts;
    }

    ebts_session* get() const noexcept { return session_; }

  protected:
    SessionHandle(const Model& model, const ebts_session_options& options) {
        check(ebts_session_create(model.get(), &options, &session_));
    }
    ~SessionHandle() { ebts_session_destroy(session_); }
    SessionHandle(SessionHandle&& other) noexcept
        : session_(std::exchange(other.session_, nullptr)) {}
    SessionHandle& operator=(SessionHandle&& other) noexcept {
        std::swap(session_, other.session_);
        return *this;
    }

  private:
    ebts_session* session_ = nullptr;
};

}  // namespace detail

/// One stream of frames, each of which is waited for.
class Session : public detail::SessionHandle {
  public:
    Session(const Model& model, const ebts_session_options& options)
        : SessionHandle(model, options) {}

    /// Its components live in the session, until the next frame: not for a temporary one.
    ebts_result segment(const ebts_frame& frame, const ebts_planes& planes) & {
        auto result = sized<ebts_result>();
        check(ebts_segment(get(), &frame, &planes, &result));
        return result;
    }
    ebts_result segment(const ebts_frame&, const ebts_planes&) && = delete;
};

/// One stream of frames that nobody waits for. Sets `live` of the options itself.
class LiveSession : public detail::SessionHandle {
  public:
    LiveSession(const Model& model, const ebts_session_options& options)
        : SessionHandle(model, alive(options)) {}

    /// Copies what it needs of the frame, and does not wait.
    void submit(const ebts_frame& frame) { check(ebts_submit(get(), &frame)); }

    /// The newest result, once; nothing where no frame was finished in `wait` since the last call.
    /// A frame that failed and a stall are an Error. Its components live in the session, until poll
    /// gives or throws something else: not for a temporary one.
    std::optional<ebts_result> poll(const ebts_planes& planes,
                                    std::chrono::microseconds wait = {}) & {
        auto result = sized<ebts_result>();
        const ebts_status status =
            ebts_poll(get(), static_cast<std::uint32_t>(wait.count()), &planes, &result);
        if (status == EBTS_NOTHING_NEW) return std::nullopt;
        check(status);
        return result;
    }
    std::optional<ebts_result> poll(const ebts_planes&, std::chrono::microseconds = {}) && = delete;

  private:
    static ebts_session_options alive(ebts_session_options options) noexcept {
        options.live = 1;
        return options;
    }
};

}  // namespace ebts
