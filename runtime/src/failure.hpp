// What opening a model, a session or a network throws; edge_bts.cpp turns it into a status.
#pragma once

#include <stdexcept>
#include <string>

#include "edge_bts/edge_bts.h"

namespace edge_bts {

/// One sentence: what was expected, what came, what to do.
class Failure : public std::runtime_error {
  public:
    Failure(ebts_status status, const std::string& text)
        : std::runtime_error(text), status_(status) {}

    ebts_status status() const noexcept { return status_; }

  private:
    ebts_status status_;
};

}  // namespace edge_bts
