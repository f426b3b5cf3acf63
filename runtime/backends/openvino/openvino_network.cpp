#include "openvino_network.hpp"

#include <openvino/openvino.hpp>
#include <string>
#include <utility>

#include "failure.hpp"

namespace edge_bts {
namespace {

/// The last line of what OpenVINO says: the others name its source files.
std::string reason(const std::exception& error) {
    std::string text = error.what();
    const std::size_t end = text.find_last_not_of(" \r\n\t");
    text.resize(end == std::string::npos ? 0 : end + 1);
    const std::size_t start = text.find_last_of('\n');
    return start == std::string::npos ? text : text.substr(start + 1);
}

class OpenVinoRequest : public Request {
  public:
    explicit OpenVinoRequest(ov::InferRequest request)
        : request_(std::move(request)),
          input_(request_.get_input_tensor()),
          output_(request_.get_output_tensor()) {}

    float* input() noexcept override { return static_cast<float*>(input_.data()); }
    const float* output() const noexcept override {
        return static_cast<const float*>(output_.data());
    }

    void infer() override {
        try {
            request_.infer();
        } catch (const ov::Exception& error) {
            throw Failure(EBTS_ERROR_BACKEND,
                          "Expected OpenVINO to run the network, but it "
                          "failed: " +
                              reason(error) + "; open the bundle again.");
        }
    }

  private:
    ov::InferRequest request_;
    ov::Tensor input_;
    ov::Tensor output_;
};

class OpenVinoNetwork : public Network {
  public:
    OpenVinoNetwork(Bytes weights, ov::CompiledModel compiled)
        : weights_(std::move(weights)), compiled_(std::move(compiled)) {}

    std::unique_ptr<Request> request() const override {
        try {
            // A copy of the handle: create_infer_request() is not const.
            ov::CompiledModel compiled = compiled_;
            return std::make_unique<OpenVinoRequest>(compiled.create_infer_request());
        } catch (const ov::Exception& error) {
            throw Failure(EBTS_ERROR_BACKEND,
                          "Expected OpenVINO to prepare a run, but it "
                          "failed: " +
                              reason(error) + "; open the bundle again.");
        }
    }

  private:
    Bytes weights_;  // the constants of the network lie in it
    ov::CompiledModel compiled_;
};

template <typename Port>
bool is_port(const Port& port, const char* name, const ov::PartialShape& shape) {
    return port.get_names().count(name) == 1 && port.get_partial_shape() == shape &&
           port.get_element_type() == ov::element::f32;
}

void check_signature(const ov::Model& model, int side) {
    const ov::PartialShape shape{1, 1, side, side};
    const auto inputs = model.inputs();
    const auto outputs = model.outputs();
    if (inputs.size() == 1 && outputs.size() == 1 && is_port(inputs[0], "image", shape) &&
        is_port(outputs[0], "probability", shape)) {
        return;
    }
    const std::string square = "(1, 1, " + std::to_string(side) + ", " + std::to_string(side) + ")";
    throw Failure(EBTS_ERROR_BUNDLE, "Expected a network from image " + square +
                                         " to probability " + square +
                                         " in float32, but it has another signature; export it "
                                         "with `edge-bts export`.");
}

/// Throws Failure INCOMPATIBLE with what OpenVINO says if `work` does not succeed.
template <typename Work>
auto needing_openvino(const char* what, Work work) -> decltype(work()) {
    try {
        return work();
    } catch (const ov::Exception& error) {
        throw Failure(EBTS_ERROR_INCOMPATIBLE, std::string("Expected OpenVINO to ") + what +
                                                   ", but it failed: " + reason(error) +
                                                   "; install the version that report.json names.");
    }
}

std::shared_ptr<ov::Model> read(ov::Core& core, const Bytes& topology, Bytes& weights) {
    const std::string text(topology.begin(), topology.end());
    const ov::Tensor constants(ov::element::u8, ov::Shape{weights.size()}, weights.data());
    try {
        return core.read_model(text, constants);
    } catch (const std::exception& error) {
        throw Failure(EBTS_ERROR_BUNDLE, "Expected a model that OpenVINO reads, but it refused (" +
                                             reason(error) + "); export it again.");
    }
}

}  // namespace

std::string openvino_version() {
    const std::string build = ov::get_openvino_version().buildNumber;
    return build.substr(0, build.find('-'));
}

std::unique_ptr<Network> open_openvino(Bytes topology, Bytes weights, int side,
                                       const Execution& execution) {
    ov::Core core = needing_openvino("start", [] { return ov::Core(); });
    const std::shared_ptr<ov::Model> model = read(core, topology, weights);
    check_signature(*model, side);
    ov::AnyMap options = {
        ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
        ov::hint::num_requests(1),
        ov::hint::inference_precision(ov::element::f32),
        {"CPU_DENORMALS_OPTIMIZATION", true},
    };
    if (execution.threads != 0) {
        options.emplace(ov::inference_num_threads(static_cast<int>(execution.threads)));
    }
    if (execution.pinned) options.emplace(ov::hint::enable_cpu_pinning(true));
    if (!execution.cache.empty()) {
        options.emplace(ov::cache_dir(execution.cache));
        // As fast to open as it can be, not as small: this is a device's own disk.
        options.emplace(ov::cache_mode(ov::CacheMode::OPTIMIZE_SPEED));
    }
    ov::CompiledModel compiled = needing_openvino("compile the network for this CPU", [&] {
        return core.compile_model(model, "CPU", options);
    });
    return std::make_unique<OpenVinoNetwork>(std::move(weights), std::move(compiled));
}

}  // namespace edge_bts
