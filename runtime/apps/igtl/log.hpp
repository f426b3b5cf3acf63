// Lines on standard error.
#pragma once

#include <array>
#include <cstdio>
#include <string>

#include "codec.hpp"

namespace edge_bts::igtl {

inline void say(const std::string& text) {
    std::fprintf(stderr, "edge-bts-igtl: %s\n", text.c_str());
}

/// Faults of one connection: each kind is told once, as a stream may repeat it with every frame.
class Faults {
  public:
    void tell(const std::string& peer, const WireError& error) {
        bool& told = told_[static_cast<std::size_t>(error.fault())];
        if (!told) say(peer + ": " + error.what());
        told = true;
    }

  private:
    std::array<bool, kFaults> told_{};
};

}  // namespace edge_bts::igtl
