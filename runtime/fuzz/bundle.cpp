#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include "edge_bts/edge_bts.h"
#include "targets.hpp"

namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 8> kNames = {"manifest.json",
                                               "manifest.sig",
                                               "golden.safetensors",
                                               "model.openvino.xml",
                                               "model.onnx",
                                               "model.openvino.bin",
                                               "other",
                                               ".hidden"};

/// A folder of this process that goes with it.
class Scratch {
  public:
    Scratch() {
        std::string name = (fs::temp_directory_path() / "edge_bts_fuzz_XXXXXX").string();
        if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
        path_ = name;
    }
    ~Scratch() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    /// The folder, empty.
    const fs::path& fresh() const {
        for (const auto& entry : fs::directory_iterator(path_)) fs::remove_all(entry.path());
        return path_;
    }

  private:
    fs::path path_;
};

}  // namespace

void fuzz::bundle(const std::uint8_t* data, std::size_t size) {
    static const Scratch scratch;
    const fs::path& folder = scratch.fresh();
    for (const std::uint8_t* end = data + size; end - data >= 3;) {
        const fs::path path = folder / kNames[data[0] % kNames.size()];
        const std::size_t wanted = data[1] + 256U * data[2];
        const auto left = static_cast<std::size_t>(end - data - 3);
        const std::size_t count = wanted < left ? wanted : left;
        if (data[0] >= 0xF0) {
            std::error_code ignored;
            fs::create_directory(path, ignored);
        } else if (data[0] >= 0xE0) {
            std::error_code ignored;
            fs::create_symlink("/dev/null", path, ignored);
        } else {
            std::ofstream(path, std::ios::binary)
                .write(reinterpret_cast<const char*>(data + 3),
                       static_cast<std::streamsize>(count));
        }
        data += 3 + count;
    }
    ebts_model_options how{};
    how.struct_size = sizeof how;
    for (const std::uint32_t allow : {0U, 1U}) {
        how.allow_unsigned = allow;
        ebts_model* model = nullptr;
        const ebts_status status = ebts_model_open(folder.c_str(), &how, &model);
        if (status == EBTS_OK || status == EBTS_ERROR_INTERNAL || model != nullptr) {
            throw std::logic_error(ebts_last_error());  // nothing vouches for it, nothing runs it
        }
    }
}
