#include "manifest.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "failure.hpp"
#include "json.hpp"
#include "signing.hpp"

namespace edge_bts {
namespace {

// Faults are named as "threshold: ...", and parse_manifest makes the sentence.

[[noreturn]] void fault(const std::string& field, const std::string& what) {
    throw std::runtime_error(field + ": " + what);
}

const Json* find(const Json& object, const char* field) {
    const auto at = object.find(field);
    return at == object.end() ? nullptr : &*at;
}

const Json& need(const Json& object, const char* field) {
    const Json* value = find(object, field);
    if (value == nullptr) fault(field, "is missing");
    return *value;
}

const Json& need_object(const Json& object, const char* field) {
    const Json& value = need(object, field);
    if (!value.is_object()) fault(field, "is no object");
    return value;
}

std::string text(const Json& value, const std::string& field) {
    if (!value.is_string()) fault(field, "is no string");
    return value.get<std::string>();
}

double number(const Json& value, const std::string& field) {
    if (!value.is_number()) fault(field, "is no number");
    return value.get<double>();
}

std::uint64_t whole(const Json& value, const std::string& field, std::uint64_t least,
                    std::uint64_t most) {
    if (!value.is_number_unsigned()) fault(field, "is no whole number from 0");
    const auto count = value.get<std::uint64_t>();
    if (count < least || count > most) {
        fault(field, "is not in " + std::to_string(least) + ".." + std::to_string(most));
    }
    return count;
}

std::map<std::string, std::string> texts(const Json& object, const char* field) {
    std::map<std::string, std::string> read;
    for (const auto& [key, value] : object.items()) {
        read[key] = text(value, std::string(field) + "." + key);
    }
    return read;
}

/// Only a file in the folder: no separator, no leading dot or dash, and not the manifest itself.
bool is_flat(const std::string& name) {
    const auto alphanumeric = [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    };
    const auto allowed = [&](char c) {
        return alphanumeric(c) || c == '.' || c == '_' || c == '-';
    };
    return !name.empty() && name.size() <= 100 && alphanumeric(name.front()) &&
           std::all_of(name.begin(), name.end(), allowed) && name != kManifestName &&
           name != kSignatureName;
}

std::map<std::string, Manifest::File> files_of(const Json& object) {
    const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    std::map<std::string, Manifest::File> files;
    for (const auto& [name, entry] : object.items()) {
        if (!is_flat(name)) fault("files", "'" + name + "' is not the plain name of a file");
        const std::string field = "files." + name;
        if (!entry.is_object()) fault(field, "is no object");
        const std::uint64_t size = whole(need(entry, "size"), field + ".size", 0, kMaxFileBytes);
        const std::string digest = text(need(entry, "sha256"), field + ".sha256");
        if (digest.size() != 64 || !std::all_of(digest.begin(), digest.end(), is_hex)) {
            fault(field + ".sha256", "is no SHA-256 in lower-case hexadecimal");
        }
        files[name] = {size, digest};
    }
    return files;
}

/// The numbers at the start of a version; {0} where there are none.
std::vector<long> numbers(const std::string& version) {
    std::vector<long> parts;
    std::size_t at = 0;
    while (at < version.size() && std::isdigit(static_cast<unsigned char>(version[at])) != 0) {
        long part = 0;
        for (int digits = 0; at < version.size() && digits < 9; ++digits, ++at) {
            if (std::isdigit(static_cast<unsigned char>(version[at])) == 0) break;
            part = 10 * part + (version[at] - '0');
        }
        parts.push_back(part);
        if (at >= version.size() || version[at] != '.') break;
        ++at;
    }
    return parts.empty() ? std::vector<long>{0} : parts;
}

void check_features(const Json& record, const std::string& where) {
    const Json* features = find(record, "required_features");
    if (features == nullptr) return;
    if (!features->is_array()) fault("required_features", "is no list");
    for (const Json& feature : *features) {
        throw Failure(EBTS_ERROR_INCOMPATIBLE, where + " requires " +
                                                   text(feature, "required_features") +
                                                   ", which this library (" + ebts_version() +
                                                   ") does not know; install a newer one.");
    }
}

void read_geometry(const Json& record, Manifest& manifest) {
    const Json& geometry = need_object(record, "geometry");
    manifest.side = static_cast<int>(whole(need(geometry, "imgsz"), "geometry.imgsz", 32, 4096));
    const Json* letterbox = find(geometry, "letterbox");
    if (letterbox != nullptr && *letterbox != "area down, bilinear up, centred") {
        fault("geometry.letterbox", "is another one");
    }
    const Json* pad = find(geometry, "pad");
    if (pad != nullptr && *pad != 0) fault("geometry.pad", "is not 0");
}

void read_numbers(const Json& record, Manifest& manifest) {
    const Json& scale = need_object(record, "normalisation");
    manifest.mean = number(need(scale, "mean"), "normalisation.mean");
    manifest.std = number(need(scale, "std"), "normalisation.std");
    if (!(manifest.std > 0)) fault("normalisation.std", "is not above 0");
    manifest.threshold = number(need(record, "threshold"), "threshold");
    if (!(manifest.threshold > 0 && manifest.threshold < 1)) fault("threshold", "is not in (0, 1)");
    const Json* presence = find(record, "presence_threshold");
    manifest.presence_threshold =
        presence == nullptr ? 0.0 : number(*presence, "presence_threshold");
    if (!(manifest.presence_threshold >= 0 && manifest.presence_threshold < 1)) {
        fault("presence_threshold", "is not in [0, 1)");
    }
}

Manifest read(const Json& record) {
    Manifest manifest;
    manifest.name = text(need(record, "name"), "name");
    if (manifest.name.empty() || manifest.name.size() > 400) fault("name", "is empty or too long");
    const Json* version = find(record, "version");
    manifest.version = version == nullptr ? "1" : text(*version, "version");
    manifest.precision = text(need(record, "precision"), "precision");
    if (manifest.precision != "fp32" && manifest.precision != "fp16" &&
        manifest.precision != "int8") {
        fault("precision", "is not fp32, fp16 or int8");
    }
    read_geometry(record, manifest);
    read_numbers(record, manifest);
    manifest.models = texts(need_object(record, "models"), "models");
    manifest.files = files_of(need_object(record, "files"));
    for (const auto& [backend, name] : manifest.models) {
        if (manifest.files.count(name) == 0) {
            fault("models." + backend, "'" + name + "' is not among the files");
        }
    }
    if (find(record, "minimum_runtime") != nullptr) {
        manifest.minimum_runtime = texts(need_object(record, "minimum_runtime"), "minimum_runtime");
    }
    return manifest;
}

Failure no_manifest(const std::string& where, const std::string& reason) {
    return {EBTS_ERROR_BUNDLE, "Expected " + where + " to be a manifest, but " + reason +
                                   "; copy the bundle again from its source."};
}

}  // namespace

void Manifest::check_runtime(const std::string& library, const std::string& here) const {
    const auto needed = minimum_runtime.find(library);
    if (needed == minimum_runtime.end() || numbers(needed->second) <= numbers(here)) return;
    throw Failure(EBTS_ERROR_INCOMPATIBLE, "The bundle of " + name + " requires " + library + " " +
                                               needed->second + ", but this is " + here +
                                               "; install a newer one.");
}

Manifest parse_manifest(const Bytes& content, const std::string& where) {
    try {
        const Json record =
            parse_json(reinterpret_cast<const char*>(content.data()), content.size());
        const Json* schema = record.is_object() ? find(record, "schema_version") : nullptr;
        if (schema == nullptr) throw std::runtime_error("it has no schema_version");
        if (*schema != 1) {
            throw Failure(EBTS_ERROR_INCOMPATIBLE,
                          "Expected a manifest of schema 1, but " + where + " has schema " +
                              schema->dump() + "; install the edge-bts that it was made for.");
        }
        Manifest manifest = read(record);
        check_features(record, where);
        manifest.check_runtime("edge_bts", ebts_version());
        return manifest;
    } catch (const Failure&) {
        throw;
    } catch (const std::bad_alloc&) {
        throw;
    } catch (const std::exception& error) {
        throw no_manifest(where, error.what());
    }
}

}  // namespace edge_bts
