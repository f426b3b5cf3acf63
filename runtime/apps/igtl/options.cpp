#include "options.hpp"

#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>

namespace edge_bts::igtl {

const char* const kHelp =
    R"(usage: edge-bts-igtl BUNDLE --trust KEY.pub [options]

Fetches ultrasound images from an OpenIGTLink server (PlusServer, `edge-bts replay`), segments them,
and serves masks and measures to OpenIGTLink clients (3D Slicer, pyigtl).
Research software, not a medical device.

  BUNDLE                folder NAME.ebts
  --trust KEY.pub       public key whose bundles are opened; repeatable
  --allow-unsigned      open a bundle that no such key signed
  --connect HOST:PORT   where the images come from        (127.0.0.1:18944)
  --serve HOST:PORT     where results are served; there is no authentication: whoever reaches
                        an address other than loopback sees them  (127.0.0.1:18945)
  --device NAME         segment images of this device alone        (any)
  --send KIND           mask (0 and 1) or probability (0 to 255)   (mask)
  --name NAME           device name of what is sent       (Mask or Prediction)
  --header auto|2       auto: version 1 until the peer has sent version 2; 2: always, and the
                        image server is asked for it (metadata needs it)  (auto)
  --mm-per-pixel MM     of images that do not say; without it they are measured in pixels
  --max-size WxH        the largest image; bounds all memory       (1920x1200)
  --max-clients N       most clients at a time                     (8)
  --deadline-ms N       results older than this are sent empty, health LATE; 0: none  (100)
  --threads N           threads inside one inference; 0: as the library likes         (1)
  --version, --help
)";

namespace {

/// A whole number from `least` to `most`.
std::uint32_t number(const std::string& option, const std::string& text, std::uint32_t least,
                     std::uint32_t most) {
    char* end = nullptr;
    const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
    const unsigned long value = digits ? std::strtoul(text.c_str(), &end, 10) : 0;
    if (!digits || text.size() > 9 || value < least || value > most) {
        throw UsageError("Expected " + option + " from " + std::to_string(least) + " to " +
                         std::to_string(most) + ", but got '" + text + "'.");
    }
    return static_cast<std::uint32_t>(value);
}

double millimetres(const std::string& option, const std::string& text) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !std::isfinite(value) || value <= 0.0) {
        throw UsageError("Expected millimetres above 0 for " + option + ", but got '" + text +
                         "'.");
    }
    return value;
}

std::string device_name(const std::string& option, const std::string& text) {
    if (text.empty() || text.size() > 20) {
        throw UsageError("Expected a name of 1 to 20 bytes for " + option + ", but got '" + text +
                         "'.");
    }
    return text;
}

}  // namespace

Options parse_options(const std::vector<std::string>& arguments) {
    Options options;
    using Take = std::function<void(const std::string& option, const std::string& value)>;
    const std::map<std::string, Take> takes = {
        {"--trust", [&](auto&, auto& value) { options.trust.push_back(value); }},
        {"--connect", [&](auto&, auto& value) { options.connect = value; }},
        {"--serve", [&](auto&, auto& value) { options.serve = value; }},
        {"--device",
         [&](auto& option, auto& value) { options.device = device_name(option, value); }},
        {"--name", [&](auto& option, auto& value) { options.name = device_name(option, value); }},
        {"--send",
         [&](auto&, auto& value) {
             if (value != "mask" && value != "probability") {
                 throw UsageError("Expected --send mask or probability, but got '" + value + "'.");
             }
             options.output = value == "mask" ? Output::mask : Output::probability;
         }},
        {"--header",
         [&](auto&, auto& value) {
             if (value != "auto" && value != "2") {
                 throw UsageError("Expected --header auto or 2, but got '" + value + "'.");
             }
             options.header = value == "2" ? 2 : 1;
         }},
        {"--mm-per-pixel",
         [&](auto& option, auto& value) { options.mm_per_pixel = millimetres(option, value); }},
        {"--max-size",
         [&](auto& option, auto& value) {
             const auto cross = value.find('x');
             const auto side = [&](const std::string& text) {
                 return static_cast<std::uint16_t>(number(option, text, 2, 16384));
             };
             options.max_width = side(value.substr(0, cross));
             options.max_height = side(cross == std::string::npos ? "" : value.substr(cross + 1));
         }},
        {"--max-clients",
         [&](auto& option, auto& value) { options.max_clients = number(option, value, 1, 64); }},
        {"--deadline-ms",
         [&](auto& option, auto& value) { options.deadline_ms = number(option, value, 0, 60000); }},
        {"--threads",
         [&](auto& option, auto& value) { options.threads = number(option, value, 0, 256); }},
    };
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string& argument = arguments[i];
        if (argument == "--allow-unsigned") {
            options.allow_unsigned = true;
        } else if (const auto found = takes.find(argument); found != takes.end()) {
            if (++i == arguments.size()) {
                throw UsageError("Expected a value after " + argument + "; see --help.");
            }
            found->second(argument, arguments[i]);
        } else if (argument.rfind("-", 0) == 0 || !options.bundle.empty()) {
            throw UsageError("Expected an option of --help, but got '" + argument + "'.");
        } else {
            options.bundle = argument;
        }
    }
    if (options.bundle.empty()) throw UsageError("Expected a bundle NAME.ebts; see --help.");
    if (options.name.empty()) {
        options.name = options.output == Output::mask ? "Mask" : "Prediction";
    }
    return options;
}

}  // namespace edge_bts::igtl
