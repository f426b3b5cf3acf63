// The node: images in at one side, results out at the other, everything in one loop but inference.
#pragma once

#include <atomic>
#include <edge_bts/edge_bts.hpp>
#include <vector>

#include "frame.hpp"
#include "segmenter.hpp"
#include "server.hpp"
#include "socket.hpp"
#include "source.hpp"

namespace edge_bts::igtl {

class Node {
  public:
    /// Listens from here on. Throws UsageError, ebts::Error, std::system_error.
    Node(const ebts::Model& model, const Options& options);

    /// Runs until stop().
    void run();

    /// Ends run(); may be called by a signal handler.
    void stop() noexcept;

    const Address& address() const noexcept { return server_.address(); }

  private:
    void receive();
    void take_image(Frame& frame, const Body& body);
    void take_pose(const Matrix& matrix);
    void deliver();
    void mention_state(Clock::time_point now);

    const Options& options_;
    Handle wake_;
    std::atomic<bool> stopping_{false};
    Server server_;
    Source source_;
    std::vector<Pose> poses_;  ///< The newest of each device.
    Counts counts_;
    Clock::time_point last_image_{};
    Clock::time_point next_mention_{};
    bool told_image_ = false;
    Segmenter segmenter_;  ///< Last: its thread uses the above and ends first.
};

}  // namespace edge_bts::igtl
