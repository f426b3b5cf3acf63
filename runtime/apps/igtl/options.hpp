// What the command line says.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace edge_bts::igtl {

enum class Output { mask, probability };

struct Options {
    std::string bundle;
    std::vector<std::string> trust;  ///< Files NAME.pub.
    bool allow_unsigned = false;
    std::string connect = "127.0.0.1:18944";
    std::string serve = "127.0.0.1:18945";
    std::string device;  ///< Only images of this device; empty: of any.
    Output output = Output::mask;
    std::string name;           ///< Device of the images that go out.
    std::uint16_t header = 1;   ///< The lowest version of the headers that are sent.
    double mm_per_pixel = 0.0;  ///< Where the stream does not say; 0: unknown.
    std::uint16_t max_width = 1920;
    std::uint16_t max_height = 1200;
    std::uint32_t max_clients = 8;
    std::uint32_t deadline_ms = 100;  ///< 0: none.
    std::uint32_t threads = 1;
};

/// A command line that cannot be obeyed; one sentence.
class UsageError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// The text of --help.
extern const char* const kHelp;

/// Parses the arguments after the program's name; --help and --version are the caller's. Throws
/// UsageError.
Options parse_options(const std::vector<std::string>& arguments);

}  // namespace edge_bts::igtl
