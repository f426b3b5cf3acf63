// A network without a library behind it: what it answers is up to the test.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "handles.hpp"
#include "model.hpp"

namespace support {

/// Maps the normalised square to probabilities, both of side x side pixels.
using Answer = std::function<void(const std::vector<float>& input, std::vector<float>& output)>;

class FakeRequest : public edge_bts::Request {
  public:
    FakeRequest(int side, Answer answer)
        : answer_(std::move(answer)),
          input_(static_cast<std::size_t>(side) * static_cast<std::size_t>(side)),
          output_(input_.size()) {}

    float* input() noexcept override { return input_.data(); }
    const float* output() const noexcept override { return output_.data(); }
    void infer() override { answer_(input_, output_); }

  private:
    Answer answer_;
    std::vector<float> input_;
    std::vector<float> output_;
};

class FakeNetwork : public edge_bts::Network {
  public:
    FakeNetwork(int side, Answer answer) : side_(side), answer_(std::move(answer)) {}

    std::unique_ptr<edge_bts::Request> request() const override {
        return std::make_unique<FakeRequest>(side_, answer_);
    }

  private:
    int side_;
    Answer answer_;
};

/// Probability is gray / 255.
inline void gray_is_probability(const std::vector<float>& input, std::vector<float>& output) {
    output = input;
}

struct CloseModel {
    void operator()(ebts_model* model) const { ebts_model_close(model); }
};
using FakeModel = std::unique_ptr<ebts_model, CloseModel>;

/// A model of 32 x 32 whose network is `answer`.
inline FakeModel fake_model(Answer answer = gray_is_probability,
                            std::optional<edge_bts::Golden> golden = std::nullopt) {
    constexpr int kSide = 32;
    auto model = std::make_shared<edge_bts::Model>();
    model->settings = {kSide, 0.0F, 1.0F, 0.5F, 0.0};
    model->name = "fake";
    model->golden = std::move(golden);
    model->network = std::make_unique<FakeNetwork>(kSide, std::move(answer));
    return FakeModel(edge_bts::Models::table().add(std::move(model)));
}

}  // namespace support
