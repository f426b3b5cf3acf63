// Frames to results on a thread of its own; neither side waits for it.
#pragma once

#include <cstdint>
#include <edge_bts/edge_bts.hpp>
#include <functional>
#include <thread>

#include "frame.hpp"
#include "newest.hpp"
#include "options.hpp"

namespace edge_bts::igtl {

/// Not a live session of the library, which would be no shorter: header, matrix and poses of a
/// frame go with it to its result, and ebts_poll gives of a frame that failed neither sequence nor
/// timestamp, where here its image goes out as FAILED; and bodies are received into the buffers in
/// which they are segmented, which ebts_submit would copy.
class Segmenter {
  public:
    /// `done` is called by the worker's thread when a result can be polled. Throws ebts::Error.
    Segmenter(const ebts::Model& model, const Options& options, std::function<void()> done);
    ~Segmenter();
    Segmenter(const Segmenter&) = delete;
    Segmenter& operator=(const Segmenter&) = delete;

    /// The frame to fill, the caller's until submit().
    Frame& next() noexcept { return frames_.writing(); }

    /// Hands it to the worker; an older one that was waiting is dropped for it.
    void submit() { frames_.publish(); }

    /// The newest result, the caller's until the next call; NULL if there is none since.
    const Result* poll() { return results_.take(); }

  private:
    void work();
    void segment(Frame& frame, Result& result);

    const Options& options_;
    ebts::Session session_;
    std::function<void()> done_;
    Newest<Frame> frames_;
    Newest<Result> results_;
    std::vector<float> probability_;
    std::uint64_t segmented_ = 0;
    std::uint64_t superseded_ = 0;
    std::thread worker_;
};

}  // namespace edge_bts::igtl
