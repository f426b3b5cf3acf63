// A bundle with its engine for the fakes of TensorRT and CUDA.
#pragma once

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "edge_bts/edge_bts.hpp"
#include "fake_cuda.hpp"
#include "fake_tensorrt.hpp"
#include "golden_file.hpp"
#include "json.hpp"
#include "signing.hpp"
#include "tensorrt_network.hpp"

namespace site {

using edge_bts::Bytes;
using edge_bts::Json;
namespace fs = std::filesystem;

constexpr int kSide = 32;
constexpr std::size_t kPixels = kSide * kSide;

inline void write(const fs::path& path, const Bytes& content) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(content.data()),
               static_cast<std::streamsize>(content.size()));
}

inline Bytes bytes_of(const std::string& text) {
    return {text.begin(), text.end()};
}

/// One frame with every gray level; the network gives back what it gets, gray / 255.
inline Bytes golden() {
    std::size_t at = 0;
    Bytes content = golden_file(at);
    std::uint8_t* body = content.data() + at;
    for (std::size_t i = 0; i < kPixels; ++i) {
        body[i] = static_cast<std::uint8_t>(i);
        const float probability = static_cast<float>(body[i]) / 255.0F;
        std::memcpy(body + 2 * kPixels + i * sizeof probability, &probability, sizeof probability);
    }
    return content;
}

inline std::string version(std::size_t numbers) {
    std::string text;
    for (std::size_t i = 0; i < numbers; ++i) {
        text += (i == 0 ? "" : ".") + std::to_string(fake_tensorrt::state().version[i]);
    }
    return text;
}

/// A folder with a bundle, and the engine that was built of it for the fake device.
class Site {
  public:
    Site() {
        fake_cuda::reset();
        fake_tensorrt::reset(kSide);
        std::string name = (fs::temp_directory_path() / "edge_bts.XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        folder = name;
        write_bundle(true);
        std::ifstream file(EDGE_BTS_SIDECAR);
        sidecar = Json::parse(file);
        utsname machine{};
        uname(&machine);
        sidecar["manifest_sha256"] = manifest_sha256;
        sidecar["tensorrt"] = version(4);
        sidecar["device"]["machine"] = machine.machine;
        sidecar["device"]["gpu"] = fake_cuda::device().name;
        plan.assign(100, 7);
        const std::uint32_t head[] = {0x74727466, 0};
        std::memcpy(plan.data(), head, sizeof head);
        for (std::size_t i = 0; i < 4; ++i) {
            plan[24 + i] = static_cast<std::uint8_t>(fake_tensorrt::state().version[i]);
        }
        write_engine();
    }
    ~Site() { fs::remove_all(folder); }
    Site(const Site&) = delete;
    Site& operator=(const Site&) = delete;

    void write_bundle(bool with_golden) {
        fs::create_directories(bundle());
        std::vector<std::pair<std::string, Bytes>> files = {{"model.onnx", bytes_of("an ONNX")}};
        if (with_golden) files.emplace_back("golden.safetensors", golden());
        fs::remove(bundle() / "golden.safetensors");
        Json manifest = Json::parse(R"({
            "schema_version": 1, "required_features": [], "name": "tiny", "version": "1",
            "geometry": {"imgsz": 32, "letterbox": "area down, bilinear up, centred", "pad": 0},
            "normalisation": {"mean": 0.0, "std": 1.0}, "threshold": 0.5,
            "presence_threshold": 0.0, "precision": "int8",
            "models": {"tensorrt": "model.onnx"}, "files": {}})");
        for (const auto& [name, content] : files) {
            write(bundle() / name, content);
            manifest["files"][name] = {{"size", content.size()},
                                       {"sha256", edge_bts::sha256(content)}};
        }
        const Bytes text = bytes_of(manifest.dump());
        write(bundle() / "manifest.json", text);
        manifest_sha256 = edge_bts::sha256(text);
    }

    /// Writes plan and sidecar as they stand; the sidecar knows the plan, unless told otherwise.
    void write_engine(bool agree = true, std::size_t numbers = 4) {
        if (agree) {
            sidecar["plan_size"] = plan.size();
            sidecar["plan_sha256"] = edge_bts::sha256(plan);
        }
        fs::create_directories(place());
        stem = version(numbers) + "-sm87-int8";
        write(place() / (stem + ".engine"), plan);
        write(place() / (stem + ".json"), bytes_of(sidecar.dump()));
    }

    fs::path bundle() const { return folder / "tiny.ebts"; }
    fs::path engines() const { return folder / "cache"; }
    fs::path place() const { return engines() / manifest_sha256; }

    /// Opens the bundle by the C ABI; what is logged goes to `said`.
    ebts::Model open() {
        said.clear();
        const std::string cache = engines().string();
        auto how = ebts::sized<ebts_model_options>();
        how.allow_unsigned = 1;
        how.backend = "tensorrt";
        how.engine_folder = cache.c_str();
        how.log_user = this;
        how.log = [](void* user, ebts_log_level, const char* text) {
            static_cast<Site*>(user)->said += std::string(text) + "\n";
        };
        return ebts::Model(bundle().string(), how);
    }

    /// The status with which opening is refused.
    ebts_status refusal() {
        try {
            const ebts::Model model = open();
            return EBTS_OK;
        } catch (const ebts::Error& error) {
            why = error.what();
            return error.status();
        }
    }

    /// The backend alone.
    std::unique_ptr<edge_bts::TensorRtNetwork> network() {
        edge_bts::EngineKey key;
        key.folder = engines().string();
        key.bundle = bundle().string();
        key.manifest_sha256 = manifest_sha256;
        key.precision = "int8";
        return edge_bts::open_tensorrt(
            key, kSide, [this](ebts_log_level, const std::string& text) { said += text + "\n"; });
    }

    fs::path folder;
    std::string manifest_sha256;
    std::string stem;
    std::string said;
    std::string why;
    Json sidecar;
    Bytes plan;
};

inline bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace site
