// Whether a frame shows a lesion at all: the twin of edge_bts/presence.py.
#pragma once

#include <cstddef>
#include <vector>

namespace edge_bts {

class Presence {
  public:
    /// For squares of `side` x `side`.
    explicit Presence(int side);

    /// The mean of the highest 0.2 % of the probabilities; NaN counts as 0. Allocates nothing.
    double score(const float* probability) noexcept;

  private:
    std::size_t pixels_;
    std::size_t count_;
    std::vector<float> highest_;
};

}  // namespace edge_bts
