// The TensorRT backend against fakes of TensorRT and CUDA: what it asks of them, in which order,
// and what comes of their refusals. No engine is run here; where one is, docs/tensorrt.md says.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "edge_bts/edge_bts.hpp"
#include "failure.hpp"
#include "fake_cuda.hpp"
#include "fake_tensorrt.hpp"
#include "json.hpp"
#include "signing.hpp"
#include "site.hpp"
#include "tensorrt_network.hpp"

using edge_bts::Failure;
using edge_bts::Json;
using site::has;
using site::kPixels;
using site::Site;
using site::version;
namespace fs = std::filesystem;

namespace {

/// Memory of the device with `count` floats, given back at the end.
class DeviceMemory {
  public:
    DeviceMemory() { REQUIRE(cudaMalloc(&memory_, kPixels * sizeof(float)) == cudaSuccess); }
    ~DeviceMemory() { cudaFree(memory_); }
    DeviceMemory(const DeviceMemory&) = delete;
    DeviceMemory& operator=(const DeviceMemory&) = delete;

    float* data() const { return static_cast<float*>(memory_); }

  private:
    void* memory_ = nullptr;
};

void fill(float* input, float value) {
    std::fill_n(input, kPixels, value);
}

}  // namespace

TEST_CASE("a bundle with its engine opens by the C ABI, answers its golden frame and segments") {
    Site site;
    {
        const ebts::Model model = site.open();
        const ebts_model_info info = model.describe();
        CHECK(std::string(info.backend) == "tensorrt " + version(4));
        CHECK(info.self_tested == 1);

        auto most = ebts::sized<ebts_session_options>();
        most.max_width = most.max_height = 64;
        ebts::Session session(model, most);
        std::vector<std::uint8_t> pixels(64 * 64, 10);
        for (int y = 20; y < 40; ++y) std::fill_n(pixels.begin() + 64 * y + 10, 30, 240);
        std::vector<std::uint8_t> mask(64 * 64, 9);
        auto frame = ebts::sized<ebts_frame>();
        frame.data = pixels.data();
        frame.width = frame.height = 64;
        frame.format = EBTS_GRAY8;
        auto planes = ebts::sized<ebts_planes>();
        planes.mask = mask.data();
        const ebts_result result = session.segment(frame, planes);
        CHECK(result.health == EBTS_HEALTH_OK);
        CHECK(result.component_count == 1);
        CHECK(std::count(mask.begin(), mask.end(), 1) == 20 * 30);
    }
    CHECK(fake_cuda::living() == 0);
    CHECK(fake_tensorrt::state().living == 0);
}

TEST_CASE("without a backend named nothing in a cache is looked for") {
    Site site;
    auto how = ebts::sized<ebts_model_options>();
    how.allow_unsigned = 1;
    const std::string cache = site.engines().string();
    how.engine_folder = cache.c_str();
    ebts_model* model = nullptr;
    CHECK(ebts_model_open(site.bundle().c_str(), &how, &model) == EBTS_ERROR_INCOMPATIBLE);
    CHECK(has(ebts_last_error(), "OpenVINO"));
    how.backend = "cuda";
    CHECK(ebts_model_open(site.bundle().c_str(), &how, &model) == EBTS_ERROR_ARGUMENT);
    how.backend = "tensorrt";
    how.engine_folder = nullptr;
    CHECK(ebts_model_open(site.bundle().c_str(), &how, &model) == EBTS_ERROR_ARGUMENT);
    CHECK(fake_tensorrt::state().calls.empty());
}

TEST_CASE("checks come in the order that is documented, and TensorRT sees nothing before them") {
    Site site;
    const fs::path engine = site.place() / (site.stem + ".engine");
    const fs::path sidecar = site.place() / (site.stem + ".json");
    const site::Bytes good_plan = site.plan;
    const Json good = site.sidecar;

    // Everything is wrong at once; then one thing after the other is put right.
    site.plan.assign(50, 1);
    site.sidecar["manifest_sha256"] = std::string(64, 'b');
    site.sidecar["tensorrt"] = "9.9.9.9";
    site.sidecar["device"]["sm_count"] = 16;
    site.sidecar["plan_size"] = 60;
    site.write_engine(false);
    ::chmod(site.place().c_str(), 0777);
    ::chmod(engine.c_str(), 0666);
    site::write(sidecar, site::bytes_of("no JSON"));
    ::chmod(sidecar.c_str(), 0666);

    const auto refused = [&site](ebts_status status, const char* why) {
        CHECK(site.refusal() == status);
        CHECK_MESSAGE(has(site.why, why), site.why);
        CHECK(has(site.why, "edge-bts "));  // the command that mends it
    };
    refused(EBTS_ERROR_INTEGRITY, "everybody can write it");
    ::chmod(site.place().c_str(), 0755);
    refused(EBTS_ERROR_INTEGRITY, ".engine to be writable by its owner alone");
    ::chmod(engine.c_str(), 0644);
    refused(EBTS_ERROR_INTEGRITY, ".json to be writable by its owner alone");
    ::chmod(sidecar.c_str(), 0644);
    refused(EBTS_ERROR_INTEGRITY, "to be the sidecar of an engine");
    site.write_engine(false);
    refused(EBTS_ERROR_INTEGRITY, "but it is of manifest bbbbbbbbbbbb");
    site.sidecar["manifest_sha256"] = site.manifest_sha256;
    site.write_engine(false);
    fs::remove(engine);
    refused(EBTS_ERROR_INCOMPATIBLE, "only its sidecar is there");
    site.write_engine(false);
    refused(EBTS_ERROR_INTEGRITY, "it is another file");
    site.write_engine();
    refused(EBTS_ERROR_INTEGRITY, "it does not begin like one");
    site.plan = good_plan;
    site.plan[24] = 9;
    site.write_engine();
    refused(EBTS_ERROR_INCOMPATIBLE, "was built by 9.");
    site.plan = good_plan;
    site.write_engine();
    refused(EBTS_ERROR_INCOMPATIBLE, "was built by 9.9.9.9");
    site.sidecar["tensorrt"] = good["tensorrt"];
    site.write_engine();
    refused(EBTS_ERROR_INCOMPATIBLE, "SM count 16 (here 8)");
    CHECK(fake_tensorrt::state().calls.empty());

    site.sidecar["device"]["sm_count"] = 8;
    site.write_engine();
    fake_tensorrt::state().starts = false;
    refused(EBTS_ERROR_INCOMPATIBLE, "TensorRT to start");
    fake_tensorrt::state().starts = true;
    fake_tensorrt::state().takes_plan = false;
    fake_tensorrt::state().ports.front().name = "logits";
    fake_tensorrt::state().gain = 0.5F;
    refused(EBTS_ERROR_INCOMPATIBLE, "generated on an incompatible device");
    fake_tensorrt::state().takes_plan = true;
    refused(EBTS_ERROR_INCOMPATIBLE, "logits (1, 1, 32, 32)");
    fake_tensorrt::state().ports.front().name = "probability";
    CHECK(site.refusal() == EBTS_ERROR_SELF_TEST);
    fake_tensorrt::state().gain = 1;
    CHECK(site.refusal() == EBTS_OK);
    CHECK(fake_cuda::living() == 0);
    CHECK(fake_tensorrt::state().living == 0);
}

TEST_CASE("an engine of another device or TensorRT is refused by its sidecar") {
    Site site;
    const Json good = site.sidecar;
    const auto other = [&](const std::function<void(Json&)>& change) {
        site.sidecar = good;
        change(site.sidecar);
        site.write_engine();
        fake_tensorrt::state().calls.clear();
        CHECK(site.refusal() == EBTS_ERROR_INCOMPATIBLE);
        CHECK(fake_tensorrt::state().calls.empty());
        return site.why;
    };
    CHECK(has(other([](Json& json) { json["device"]["gpu"] = "Orin NX"; }),
              R"(GPU "Orin NX" (here "Orin"))"));
    CHECK(has(other([](Json& json) { json["device"]["compute_capability"] = "8.6"; }),
              "compute capability"));
    CHECK(has(other([](Json& json) { json["device"]["sm_count"] = 4; }), "SM count 4 (here 8)"));
    CHECK(has(other([](Json& json) { json["device"]["machine"] = "riscv64"; }), "machine"));
    const std::string major = std::to_string(fake_tensorrt::state().version[0]);
    CHECK(has(other([&](Json& json) { json["tensorrt"] = major + ".255.0"; }), "was built by"));
    CHECK(has(other([](Json& json) { json["tensorrt"] = "?"; }), "an unknown one"));
}

TEST_CASE("a sidecar that this tool would not write is refused") {
    Site site;
    const Json good = site.sidecar;
    const auto damaged = [&](const std::function<void(Json&)>& change) {
        site.sidecar = good;
        change(site.sidecar);
        site.write_engine(false);
        return site.refusal() == EBTS_ERROR_INTEGRITY && has(site.why, "the sidecar of an engine");
    };
    CHECK(damaged([](Json& json) { json["format"] = "edge-bts engine 2"; }));
    CHECK(damaged([](Json& json) { json["plan_size"] = -1; }));
    CHECK(damaged([](Json& json) { json["plan_size"] = std::uint64_t{1} << 40; }));
    CHECK(damaged([](Json& json) { json["cuda_graph"] = "yes"; }));
    CHECK(damaged([](Json& json) { json["flags"]["version_compatible"] = true; }));
    CHECK(damaged([](Json& json) { json["flags"]["dla_core"] = 0; }));
    for (const char* name : {"manifest_sha256", "precision", "tensorrt", "device", "plan_size",
                             "plan_sha256", "cuda_graph", "flags"}) {
        CAPTURE(name);
        CHECK(damaged([name](Json& json) { json.erase(name); }));
    }
    CHECK(damaged([](Json& json) { json = Json::array(); }));
}

TEST_CASE("a link in the place of plan or sidecar is no engine") {
    Site site;
    for (const char* end : {".engine", ".json"}) {
        const fs::path file = site.place() / (site.stem + end);
        const fs::path elsewhere = site.folder / "elsewhere";
        fs::rename(file, elsewhere);
        fs::create_symlink(elsewhere, file);
        CHECK(site.refusal() != EBTS_OK);
        fs::remove(file);
        fs::rename(elsewhere, file);
    }
    CHECK(site.refusal() == EBTS_OK);
}

TEST_CASE("an engine that was built through a package with three numbers of the version is found") {
    Site site;
    fs::remove_all(site.place());
    CHECK(site.refusal() == EBTS_ERROR_INCOMPATIBLE);
    CHECK(has(site.why, "there is none"));
    site.sidecar["tensorrt"] = version(3);
    site.write_engine(true, 3);
    CHECK(site.refusal() == EBTS_OK);
}

TEST_CASE("a plan of a serialisation that is not known is judged by its sidecar alone") {
    Site site;
    site.plan[4] = 1;
    site.plan[24] = 99;
    site.write_engine();
    CHECK(site.refusal() == EBTS_OK);
}

TEST_CASE("without a GPU, or with another major version of TensorRT, opening says so") {
    Site site;
    fake_cuda::device().there = false;
    CHECK(site.refusal() == EBTS_ERROR_INCOMPATIBLE);
    CHECK(has(site.why, "no CUDA-capable device"));
    fake_cuda::device().there = true;
    ++fake_tensorrt::state().version[0];
    CHECK(site.refusal() == EBTS_ERROR_INCOMPATIBLE);
    CHECK(has(site.why, "for which this library was compiled"));
    CHECK(fake_tensorrt::state().calls.empty());
}

TEST_CASE("without golden frames there is nothing to check an engine with") {
    Site site;
    site.write_bundle(false);
    CHECK(site.refusal() == EBTS_ERROR_BUNDLE);
    CHECK(fake_tensorrt::state().calls.empty());
}

TEST_CASE("ports of another type, layout, direction, shape or number are refused") {
    Site site;
    const auto refused = [&site](const std::function<void(fake_tensorrt::State&)>& change) {
        const auto before = fake_tensorrt::state().ports;
        change(fake_tensorrt::state());
        const bool came = site.refusal() == EBTS_ERROR_INCOMPATIBLE &&
                          has(site.why, "Expected an engine from image to probability");
        fake_tensorrt::state().ports = before;
        return came;
    };
    CHECK(refused([](auto& state) { state.ports[0].type = nvinfer1::DataType::kHALF; }));
    CHECK(refused([](auto& state) { state.ports[1].format = nvinfer1::TensorFormat::kCHW32; }));
    CHECK(refused([](auto& state) { state.ports[1].mode = nvinfer1::TensorIOMode::kOUTPUT; }));
    CHECK(refused([](auto& state) { state.ports[0].shape = {1, 1, 32, 31}; }));
    CHECK(refused([](auto& state) { state.ports[0].shape = {1, 32, 32}; }));
    CHECK(refused([](auto& state) { state.ports.pop_back(); }));
    CHECK(refused([](auto& state) { state.ports.push_back(state.ports[0]); }));
    CHECK(site.refusal() == EBTS_OK);
}

TEST_CASE("where CPU and GPU share their memory nothing is copied, elsewhere both ways are") {
    for (const bool integrated : {true, false}) {
        Site site;
        fake_cuda::device().integrated = integrated;
        const auto network = site.network();
        const auto request = network->request(nullptr);
        CHECK(fake_cuda::is_mapped(request->input()) == integrated);
        CHECK(fake_cuda::is_mapped(request->output()) == integrated);
        fill(request->input(), 0.25F);
        request->infer();
        CHECK(request->output()[0] == 0.25F);
        CHECK(request->output()[kPixels - 1] == 0.25F);
        CHECK(fake_cuda::copies() == (integrated ? 0 : 2));
    }
}

TEST_CASE("a graph is captured once, holds the copies, and anew when a pointer changes") {
    for (const bool integrated : {true, false}) {
        Site site;
        fake_cuda::device().integrated = integrated;
        site.sidecar["cuda_graph"] = true;
        site.write_engine();
        const auto network = site.network();
        CHECK(site.said.empty());
        const auto request = network->request(nullptr);
        const int captures = fake_cuda::captures();
        const int enqueued = fake_tensorrt::state().enqueued;
        for (const float value : {0.1F, 0.2F, 0.3F}) {
            fill(request->input(), value);
            request->infer();
            CHECK(request->output()[7] == value);
        }
        CHECK(fake_cuda::captures() == captures);
        CHECK(fake_cuda::graph_launches() == 3);
        CHECK(fake_tensorrt::state().enqueued == enqueued);

        const DeviceMemory input;
        const DeviceMemory output;
        request->bind(input.data(), output.data());
        fill(input.data(), 0.7F);
        request->infer();
        CHECK(output.data()[3] == 0.7F);
        CHECK(request->output()[3] == 0.3F);  // of before: no longer written
        CHECK(fake_cuda::captures() == captures + 1);
        request->bind(input.data(), output.data());  // the same again
        fill(input.data(), 0.8F);
        request->infer();
        CHECK(output.data()[3] == 0.8F);
        CHECK(fake_cuda::captures() == captures + 1);

        request->bind(nullptr, nullptr);
        fill(request->input(), 0.4F);
        request->infer();
        CHECK(request->output()[3] == 0.4F);
        CHECK(output.data()[3] == 0.8F);
        CHECK(fake_cuda::captures() == captures + 2);
    }
    CHECK(fake_cuda::living() == 0);
    CHECK(fake_tensorrt::state().living == 0);
}

TEST_CASE("memory of the caller that is not aligned is refused, and what was bound still runs") {
    Site site;
    const auto network = site.network();
    const auto request = network->request(nullptr);
    const DeviceMemory input;
    try {
        request->bind(input.data() + 1, nullptr);
        FAIL("it was taken");
    } catch (const Failure& failure) {
        CHECK(failure.status() == EBTS_ERROR_ARGUMENT);
    }
    fill(request->input(), 0.5F);
    request->infer();
    CHECK(request->output()[0] == 0.5F);
}

TEST_CASE("an engine that cannot be captured is enqueued each time, and the log says so") {
    Site site;
    site.sidecar["cuda_graph"] = true;
    site.write_engine();
    fake_tensorrt::state().captures = false;
    const auto network = site.network();
    CHECK(has(site.said, "no CUDA graph"));
    CHECK(has(site.said, "not capturable"));
    const auto request = network->request(nullptr);
    fill(request->input(), 0.6F);
    request->infer();
    CHECK(request->output()[0] == 0.6F);
    CHECK(fake_cuda::graph_launches() == 0);
    for (const char* name :
         {"cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"}) {
        fake_tensorrt::state().captures = true;
        fake_cuda::fail(1, cudaErrorStreamCaptureInvalidated, name);
        const auto other = network->request(nullptr);
        CHECK(fake_cuda::failed());
        CHECK(has(other->doubt(), "no CUDA graph"));
        fill(other->input(), 0.7F);
        other->infer();
        CHECK(other->output()[0] == 0.7F);
    }
}

TEST_CASE("the caller's stream is used and is not destroyed") {
    Site site;
    const auto network = site.network();
    cudaStream_t stream = nullptr;
    REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    fake_tensorrt::state().streams.clear();
    {
        const auto request = network->request(stream);
        CHECK(request->stream() == stream);
        fill(request->input(), 0.5F);
        request->enqueue();
        CHECK(request->output()[0] == 0.0F);  // nobody has waited
        REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
        CHECK(request->output()[0] == 0.5F);
        const auto own = network->request(nullptr);
        CHECK(own->stream() != stream);
        CHECK(own->stream() != nullptr);
    }
    CHECK(fake_tensorrt::state().streams == std::vector<cudaStream_t>{stream});
    CHECK(cudaStreamDestroy(stream) == cudaSuccess);
}

TEST_CASE("a frame on which enqueueing fails is EBTS_ERROR_BACKEND, and the next one is not") {
    Site site;
    const ebts::Model model = site.open();
    auto most = ebts::sized<ebts_session_options>();
    most.max_width = most.max_height = 32;
    ebts::Session session(model, most);
    const std::vector<std::uint8_t> pixels(32 * 32, 200);
    auto frame = ebts::sized<ebts_frame>();
    frame.data = pixels.data();
    frame.width = frame.height = 32;
    frame.format = EBTS_GRAY8;
    const auto status = [&] {
        try {
            session.segment(frame, ebts::sized<ebts_planes>());
            return EBTS_OK;
        } catch (const ebts::Error& error) {
            return error.status();
        }
    };
    CHECK(status() == EBTS_OK);
    fake_tensorrt::state().fails_at = 1;
    CHECK(status() == EBTS_ERROR_BACKEND);
    CHECK(has(ebts_last_error(), "the fake fails as asked"));
    CHECK(status() == EBTS_OK);
    fake_cuda::fail(1, cudaErrorLaunchFailure, "cudaStreamSynchronize");
    CHECK(status() == EBTS_ERROR_BACKEND);
    CHECK(status() == EBTS_OK);
}

TEST_CASE("what a network needs lives as long as its requests") {
    Site site;
    auto network = site.network();
    const auto request = network->request(nullptr);
    network.reset();
    fill(request->input(), 0.5F);
    request->infer();
    CHECK(request->output()[0] == 0.5F);
}

TEST_CASE("whatever call of CUDA fails, opening and running end in a status and nothing leaks") {
    for (const bool integrated : {true, false}) {
        for (const bool graph : {true, false}) {
            int number = 0;
            for (bool came = true; came;) {
                Site site;
                fake_cuda::device().integrated = integrated;
                site.sidecar["cuda_graph"] = graph;
                site.write_engine();
                fake_cuda::fail(++number, cudaErrorMemoryAllocation);
                try {
                    const auto network = site.network();
                    const auto request = network->request(nullptr);
                    request->infer();
                } catch (const Failure& failure) {
                    const bool fits = failure.status() == EBTS_ERROR_BACKEND ||
                                      failure.status() == EBTS_ERROR_INCOMPATIBLE;
                    CHECK(fits);
                } catch (const std::bad_alloc&) {
                    CHECK(number > 2);
                }
                came = fake_cuda::failed();
                CHECK(fake_cuda::living() == 0);
                CHECK(fake_tensorrt::state().living == 0);
            }
            CHECK(number > 10);
        }
    }
}

TEST_CASE("what TensorRT refuses once an engine is taken is a status and nothing leaks") {
    Site site;
    fake_tensorrt::state().makes_context = false;
    CHECK(site.refusal() == EBTS_ERROR_BACKEND);
    CHECK(has(site.why, "execution context"));
    fake_tensorrt::state().makes_context = true;
    fake_tensorrt::state().takes_address = false;
    CHECK(site.refusal() == EBTS_ERROR_BACKEND);
    CHECK(has(site.why, "address"));
    fake_tensorrt::state().takes_address = true;
    fake_tensorrt::state().fails_at = 1;
    CHECK(site.refusal() == EBTS_ERROR_BACKEND);
    CHECK(fake_cuda::living() == 0);
    CHECK(fake_tensorrt::state().living == 0);
}

TEST_CASE("what TensorRT warns of when it takes an engine is logged") {
    Site site;
    fake_tensorrt::state().warning = "across different models of devices is not recommended";
    const ebts::Model model = site.open();
    CHECK(has(site.said, "TensorRT: across different models"));
}
