#include "model.hpp"

#include <filesystem>
#include <set>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "failure.hpp"
#include "manifest.hpp"
#if EDGE_BTS_OPENVINO
#include "openvino_network.hpp"
#endif
#if EDGE_BTS_TENSORRT
#include "tensorrt_network.hpp"
#endif

namespace edge_bts {
namespace {

/// A folder whose signature, manifest, names and sizes are checked; content is when it is read.
struct Bundle {
    Bundle(const std::string& path, const Trust& trust);

    Bytes read(const std::string& file) const;

    Folder folder;
    Verdict maker;
    Manifest manifest;
    std::string manifest_sha256;
};

Bytes Bundle::read(const std::string& file) const {
    const auto entry = manifest.files.find(file);
    if (entry == manifest.files.end()) {
        throw Failure(EBTS_ERROR_BUNDLE, "Expected " + file + " among the files of " +
                                             folder.path() +
                                             ", but the manifest does not list it; export the "
                                             "bundle again.");
    }
    const auto size = static_cast<std::size_t>(entry->second.size);
    std::optional<Bytes> content = folder.read(file, size);
    if (!content || content->size() != size || sha256(*content) != entry->second.sha256) {
        throw Failure(EBTS_ERROR_INTEGRITY,
                      "Expected " + file + " in " + folder.path() + " to have " +
                          std::to_string(size) + " bytes and SHA-256 " +
                          entry->second.sha256.substr(0, 12) + ", but it is " +
                          (content ? "not what the manifest says" : "missing or no plain file") +
                          "; copy the bundle again from its source.");
    }
    return std::move(*content);
}

Bytes read_manifest(const Folder& folder, bool is_signed) {
    // A signature says that there was a manifest once: what is wrong with it now is damage.
    const ebts_status status = is_signed ? EBTS_ERROR_INTEGRITY : EBTS_ERROR_BUNDLE;
    std::optional<Bytes> content = folder.read(kManifestName, kMaxManifestBytes);
    if (!content) {
        throw Failure(status, "Expected a bundle (folder NAME.ebts with manifest.json) at " +
                                  folder.path() +
                                  ", but there is none; make one with `edge-bts export`.");
    }
    if (content->size() > kMaxManifestBytes) {
        throw Failure(status, "Expected manifest.json in " + folder.path() + " to have at most " +
                                  std::to_string(kMaxManifestBytes) +
                                  " bytes, but it has more; it is not a manifest of edge-bts.");
    }
    return std::move(*content);
}

/// Refuses a folder that does not hold exactly what the manifest lists, as plain files: what is
/// not listed is not covered by the signature, and a library might still pick it up.
void check_folder(const Folder& folder, const Manifest& manifest, bool is_signed) {
    const auto refuse = [&folder](const std::string& name, const std::string& what) {
        return Failure(EBTS_ERROR_INTEGRITY, "Expected " + folder.path() +
                                                 " to hold the files of its manifest and nothing "
                                                 "else, but " +
                                                 name + " " + what +
                                                 "; copy the bundle again from its source.");
    };
    std::set<std::string> missing = {kManifestName};
    if (is_signed) missing.insert(kSignatureName);
    for (const auto& [name, file] : manifest.files) missing.insert(name);
    for (const auto& [name, entry] : folder.list()) {
        if (missing.erase(name) == 0) throw refuse("'" + name + "'", "is not one of them");
        if (!entry.plain) throw refuse(name, "is no plain file");
        const auto listed = manifest.files.find(name);
        if (listed != manifest.files.end() && entry.size != listed->second.size) {
            throw refuse(name, "has " + std::to_string(entry.size) + " bytes and not " +
                                   std::to_string(listed->second.size));
        }
    }
    if (!missing.empty()) throw refuse(*missing.begin(), "is missing");
}

Bundle::Bundle(const std::string& path, const Trust& trust) : folder(path) {
    std::optional<Bytes> signature;
    if (folder.has(kSignatureName)) {
        // What is no plain file in its place is a damaged signature, not a missing one.
        signature = folder.read(kSignatureName, kSignatureBytes).value_or(Bytes());
    }
    const bool is_signed = signature.has_value();
    const Bytes content = read_manifest(folder, is_signed);
    maker = judge(content, signature, trust, path);
    manifest = parse_manifest(content, path + "/" + kManifestName);
    check_folder(folder, manifest, is_signed);
    manifest_sha256 = sha256(content);
}

/// Which backend opens nothing here, and why.
[[maybe_unused]] Failure lacking(const Bundle& bundle, const std::string& backend) {
    return {EBTS_ERROR_INCOMPATIBLE, "Expected a library with " + backend + " to open " +
                                         bundle.folder.path() +
                                         ", but this one was built without it; install a build "
                                         "with it."};
}

#if EDGE_BTS_OPENVINO

std::unique_ptr<Network> open_by_openvino(const Bundle& bundle, const Choice& choice,
                                          std::string& backend) {
    static const std::string end = ".xml";
    const Manifest& manifest = bundle.manifest;
    const auto model = manifest.models.find("openvino");
    const std::string file = model == manifest.models.end() ? "" : model->second;
    if (file.size() <= end.size() || file.compare(file.size() - end.size(), end.size(), end) != 0) {
        throw Failure(EBTS_ERROR_BUNDLE, "Expected " + bundle.folder.path() +
                                             " to hold a model for openvino (.xml and .bin), but "
                                             "it has none; export the bundle again.");
    }
    const std::string version = openvino_version();
    manifest.check_runtime("openvino", version);
    backend = "openvino " + version;
    Execution here = choice.execution;
    if (!here.cache.empty()) {
        // What was compiled belongs to one manifest, whatever OpenVINO tells networks apart by.
        here.cache += "/" + bundle.manifest_sha256;
        std::error_code error;
        std::filesystem::create_directories(here.cache, error);
        if (error) {
            throw Failure(EBTS_ERROR_ARGUMENT, "Expected a cache_dir that can be written, but " +
                                                   here.cache + ": " + error.message() +
                                                   "; name another folder, or none.");
        }
    }
    Bytes topology = bundle.read(file);
    Bytes weights = bundle.read(file.substr(0, file.size() - end.size()) + ".bin");
    return open_openvino(std::move(topology), std::move(weights), manifest.side, here);
}

#else

std::unique_ptr<Network> open_by_openvino(const Bundle& bundle, const Choice& /*choice*/,
                                          std::string& /*backend*/) {
    throw lacking(bundle, "OpenVINO");
}

#endif
#if EDGE_BTS_TENSORRT

std::unique_ptr<Network> open_by_tensorrt(const Bundle& bundle, const Choice& choice,
                                          std::string& backend, const Log& log) {
    const Manifest& manifest = bundle.manifest;
    if (manifest.files.count(kGoldenName) == 0) {
        throw Failure(EBTS_ERROR_BUNDLE,
                      std::string("Expected ") + kGoldenName + " in " + bundle.folder.path() +
                          " to check an engine with, but there is none; export the bundle again.");
    }
    EngineKey key;
    key.folder = choice.engines;
    key.bundle = bundle.folder.path();
    key.manifest_sha256 = bundle.manifest_sha256;
    key.precision = manifest.precision;
    key.tensorrt = tensorrt_version();
    manifest.check_runtime("tensorrt", key.version());
    backend = "tensorrt " + key.version();
    return open_tensorrt(std::move(key), manifest.side, log);
}

#else

std::unique_ptr<Network> open_by_tensorrt(const Bundle& bundle, const Choice& /*choice*/,
                                          std::string& /*backend*/, const Log& /*log*/) {
    throw lacking(bundle, "TensorRT");
}

#endif

std::unique_ptr<Network> open_network(const Bundle& bundle, const Choice& choice,
                                      std::string& backend, const Log& log) {
    if (choice.backend == "tensorrt") return open_by_tensorrt(bundle, choice, backend, log);
    return open_by_openvino(bundle, choice, backend);
}

void self_test(Model& model, const Log& log) {
    if (!model.golden) {
        log(EBTS_LOG_WARNING, "not self-tested: the bundle has no golden.safetensors");
        return;
    }
    const Normaliser normalise(model.settings.mean, model.settings.std);
    const Difference came = compare(*model.golden, normalise, *model.network->request());
    if (!within(*model.golden, came)) {
        throw Failure(EBTS_ERROR_SELF_TEST,
                      "Expected " + model.backend + " to reproduce a golden frame of " +
                          model.name + " to " + std::to_string(model.golden->mean_abs) +
                          " in probability and " + std::to_string(model.golden->pixels) +
                          " of the mask, but it differs by " + std::to_string(came.mean_abs) +
                          " and " + std::to_string(came.pixels) +
                          ": this machine computes something else than was checked at export; "
                          "install the version of the library that report.json names.");
    }
    model.self_tested = true;
}

}  // namespace

const char* backends() noexcept {
#if EDGE_BTS_OPENVINO && EDGE_BTS_TENSORRT
    return "openvino tensorrt";
#elif EDGE_BTS_OPENVINO
    return "openvino";
#elif EDGE_BTS_TENSORRT
    return "tensorrt";
#else
    return "";
#endif
}

std::shared_ptr<const Model> open_model(const std::string& path, const Trust& trust,
                                        const Choice& choice, const Log& log) {
    const Bundle bundle(path, trust);
    const Manifest& manifest = bundle.manifest;
    auto model = std::make_shared<Model>();
    model->settings = {manifest.side, static_cast<float>(manifest.mean),
                       static_cast<float>(manifest.std), static_cast<float>(manifest.threshold),
                       manifest.presence_threshold};
    model->name = manifest.name;
    model->version = manifest.version;
    model->precision = manifest.precision;
    model->signer = bundle.maker.signer;
    model->trusted = bundle.maker.doubt.empty();
    model->manifest_sha256 = bundle.manifest_sha256;
    if (!model->trusted) log(EBTS_LOG_WARNING, bundle.maker.doubt);
    try {
        Normaliser(model->settings.mean, model->settings.std);
    } catch (const std::invalid_argument& error) {
        throw Failure(EBTS_ERROR_BUNDLE, std::string(error.what()) +
                                             " That is not so in the manifest of " + path +
                                             "; export the bundle again.");
    }
    model->network = open_network(bundle, choice, model->backend, log);
    if (manifest.files.count(kGoldenName) != 0) {
        model->golden = read_golden(bundle.read(kGoldenName), manifest.side);
    }
    self_test(*model, log);
    log(EBTS_LOG_INFO,
        "opened " + model->name + " (" + model->precision + ") in " + model->backend);
    return model;
}

}  // namespace edge_bts
