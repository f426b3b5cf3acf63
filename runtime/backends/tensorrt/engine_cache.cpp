#include "engine_cache.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "failure.hpp"
#include "json.hpp"
#include "signing.hpp"

namespace edge_bts {
namespace {

constexpr std::size_t kMaxSidecarBytes = 1 << 20;
constexpr std::uint64_t kMaxPlanBytes = 1ULL << 30;  // of a network of some megabytes

// The head of a plan, as edge_bts/tensorrt/plan.py has it.
constexpr std::size_t kHeadBytes = 28;
constexpr std::uint32_t kTag = 0x74727466;
constexpr std::uint32_t kKnownSerialisation = 0;

/// What a sidecar says, as far as it decides whether the plan runs here.
struct Sidecar {
    std::string manifest_sha256;
    std::string precision;
    std::string tensorrt;
    EngineDevice device;
    std::uint64_t plan_size;
    std::string plan_sha256;
    bool cuda_graph;
};

Failure incompatible(const EngineKey& key, const std::string& text) {
    return {EBTS_ERROR_INCOMPATIBLE, text + "; " + key.mend() + "."};
}

Failure damaged(const EngineKey& key, const std::string& text) {
    return {EBTS_ERROR_INTEGRITY, text + "; " + key.mend() + "."};
}

/// What this tool never asks of a builder: a plan that has it was not built by it.
void check_flags(const Json& flags) {
    static const std::pair<const char*, Json> fixed[] = {
        {"strongly_typed", true},
        {"version_compatible", false},
        {"hardware_compatibility", "none"},
        {"strip_plan", false},
        {"refit", false},
        {"dla_core", nullptr},
    };
    for (const auto& [name, value] : fixed) {
        if (flags.contains(name) && flags[name] != value) {
            throw std::runtime_error(std::string("its flag ") + name + " is another one");
        }
    }
}

Sidecar parse_sidecar(const Bytes& content) {
    const Json json = parse_json(reinterpret_cast<const char*>(content.data()), content.size());
    if (json.value("format", std::string()) != "edge-bts engine 1") {
        throw std::runtime_error("its format is another one");
    }
    check_flags(json.at("flags"));
    const Json& device = json.at("device");
    Sidecar sidecar{
        json.at("manifest_sha256").get<std::string>(),
        json.at("precision").get<std::string>(),
        json.at("tensorrt").get<std::string>(),
        {device.at("machine").get<std::string>(),
         device.at("compute_capability").get<std::string>(), device.at("gpu").get<std::string>(),
         device.at("sm_count").get<int>()},
        0,
        json.at("plan_sha256").get<std::string>(),
        json.at("cuda_graph").get<bool>(),
    };
    const Json& size = json.at("plan_size");
    if (!size.is_number_unsigned() || size == 0U || size > kMaxPlanBytes) {
        throw std::runtime_error("its plan_size is no size of a plan");
    }
    sidecar.plan_size = size.get<std::uint64_t>();
    return sidecar;
}

/// A plan is native code: who can write it, and the sidecar with it, runs code here.
void refuse_open_to_all(const EngineKey& key, const std::string& path) {
    struct stat about{};
    if (::stat(path.c_str(), &about) == 0 && (about.st_mode & S_IWOTH) != 0) {
        throw damaged(key, "Expected " + path +
                               " to be writable by its owner alone, but everybody can write it: an "
                               "engine is code that runs here; run `chmod o-w " +
                               path + "`, then");
    }
}

std::vector<int> numbers_of(const std::string& version) {
    std::vector<int> numbers;
    const char* at = version.c_str();
    while (*at >= '0' && *at <= '9' && numbers.size() < 4) {
        int number = 0;
        for (; *at >= '0' && *at <= '9'; ++at)
            number = std::min(10 * number + (*at - '0'), 1 << 20);
        numbers.push_back(number);
        if (*at != '.') break;
        ++at;
    }
    return numbers;
}

/// As many numbers as `built` gives are the same: packages of JetPack leave the build number out.
/// It is one byte in a plan, and so compared modulo 256.
bool same_version(const std::vector<int>& built, const std::vector<int>& here) {
    return !built.empty() && built.size() <= here.size() &&
           std::equal(built.begin(), built.end(), here.begin(),
                      [](int a, int b) { return a % 256 == b % 256; });
}

void check_version(const EngineKey& key, const std::string& plan, const std::vector<int>& built) {
    if (same_version(built, key.tensorrt)) return;
    std::string name;
    for (const int number : built) name += (name.empty() ? "" : ".") + std::to_string(number);
    throw incompatible(key, "Expected an engine built by TensorRT " + key.version() + ", but " +
                                plan + " was built by " + (name.empty() ? "an unknown one" : name));
}

void check_device(const EngineKey& key, const std::string& plan, const EngineDevice& built) {
    const EngineDevice& here = key.device;
    std::string different;
    const auto compare = [&different](const char* name, const auto& there, const auto& mine) {
        if (there == mine) return;
        const Json pair[] = {there, mine};
        different += (different.empty() ? "" : ", ") + std::string(name) + " " + pair[0].dump() +
                     " (here " + pair[1].dump() + ")";
    };
    compare("machine", built.machine, here.machine);
    compare("compute capability", built.compute_capability, here.compute_capability);
    compare("GPU", built.gpu, here.gpu);
    compare("SM count", built.sm_count, here.sm_count);
    if (!different.empty()) {
        throw incompatible(key, "Expected an engine built on this device, but " + plan +
                                    " was built for " + different);
    }
}

void check_plan(const EngineKey& key, const std::string& path, const Bytes& plan,
                const Sidecar& sidecar) {
    if (plan.size() != sidecar.plan_size || sha256(plan) != sidecar.plan_sha256) {
        throw damaged(key, "Expected " + path + " to have " + std::to_string(sidecar.plan_size) +
                               " bytes and SHA-256 " + sidecar.plan_sha256.substr(0, 12) +
                               ", as its sidecar says, but it is another file");
    }
    std::uint32_t head[2] = {};
    if (plan.size() >= kHeadBytes) std::memcpy(head, plan.data(), sizeof head);
    if (head[0] != kTag) {
        throw damaged(
            key, "Expected " + path + " to be a TensorRT plan, but it does not begin like one");
    }
    // Of another serialisation version the layout is not known: the sidecar alone tells.
    if (head[1] == kKnownSerialisation) {
        check_version(key, path, {plan.begin() + 24, plan.begin() + kHeadBytes});
    }
    check_version(key, path, numbers_of(sidecar.tensorrt));
    check_device(key, path, sidecar.device);
}

}  // namespace

std::string EngineKey::version(std::size_t numbers) const {
    std::string text;
    for (std::size_t i = 0; i < std::min(numbers, tensorrt.size()); ++i) {
        text += (i == 0 ? "" : ".") + std::to_string(tensorrt[i]);
    }
    return text;
}

std::string EngineKey::mend() const {
    return "run `edge-bts build " + bundle + " --" + precision + "` here";
}

Engine read_engine(const EngineKey& key) {
    const std::string place = key.folder + "/" + key.manifest_sha256;
    std::string sm = "sm" + key.device.compute_capability;
    sm.erase(std::remove(sm.begin(), sm.end(), '.'), sm.end());
    struct stat about{};
    const bool there = ::stat(place.c_str(), &about) == 0 && S_ISDIR(about.st_mode);
    const auto missing = [&](const std::string& what) {
        return incompatible(key, "Expected a " + key.precision + " engine of " + key.bundle +
                                     " for TensorRT " + key.version() + " and " + sm + " in " +
                                     key.folder + ", but " + what);
    };
    if (!there) throw missing("there is none");
    refuse_open_to_all(key, place);
    const Folder folder(place);
    // The package that built it may know three numbers of the version where the library has four.
    for (const std::size_t numbers : {4, 3}) {
        const std::string name = key.version(numbers) + "-" + sm + "-" + key.precision;
        if (!folder.has(name + ".json")) continue;
        const std::string path = place + "/" + name;
        refuse_open_to_all(key, path + ".engine");
        refuse_open_to_all(key, path + ".json");
        const std::optional<Bytes> content = folder.read(name + ".json", kMaxSidecarBytes);
        Sidecar sidecar{};
        try {
            if (!content || content->size() > kMaxSidecarBytes) {
                throw std::runtime_error("it is no plain file of that size");
            }
            sidecar = parse_sidecar(*content);
        } catch (const std::bad_alloc&) {
            throw;
        } catch (const std::exception& error) {
            throw damaged(key, "Expected " + path + ".json to be the sidecar of an engine, but " +
                                   error.what());
        }
        if (sidecar.manifest_sha256 != key.manifest_sha256 || sidecar.precision != key.precision) {
            throw damaged(key, "Expected " + path + ".json to belong to " + key.bundle + " and " +
                                   key.precision + ", but it is of manifest " +
                                   sidecar.manifest_sha256.substr(0, 12) + " and " +
                                   sidecar.precision);
        }
        std::optional<Bytes> plan =
            folder.read(name + ".engine", static_cast<std::size_t>(sidecar.plan_size));
        if (!plan) throw missing("only its sidecar is there");
        check_plan(key, path + ".engine", *plan, sidecar);
        return {std::move(*plan), sidecar.cuda_graph};
    }
    throw missing("there is none");
}

}  // namespace edge_bts
