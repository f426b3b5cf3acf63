// edge-bts-igtl: see kHelp in options.cpp.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <edge_bts/edge_bts.hpp>
#include <system_error>

#include "log.hpp"
#include "node.hpp"
#include "options.hpp"

namespace {

using namespace edge_bts::igtl;

// As edge-bts exits.
constexpr int kInternal = 1;
constexpr int kInput = 2;
constexpr int kEnvironment = 3;
constexpr int kIntegrity = 7;

Node* running = nullptr;

int exit_code(ebts_status status) {
    switch (status) {
        case EBTS_ERROR_ARGUMENT:
        case EBTS_ERROR_BUNDLE:
            return kInput;
        case EBTS_ERROR_INCOMPATIBLE:
        case EBTS_ERROR_SELF_TEST:
        case EBTS_ERROR_BACKEND:
        case EBTS_ERROR_MEMORY:
            return kEnvironment;
        case EBTS_ERROR_INTEGRITY:
            return kIntegrity;
        default:
            return kInternal;
    }
}

ebts::Model open_model(const Options& options) {
    std::vector<const char*> keys;
    for (const auto& file : options.trust) keys.push_back(file.c_str());
    auto how = ebts::sized<ebts_model_options>();
    how.key_files = keys.data();
    how.key_file_count = keys.size();
    how.allow_unsigned = options.allow_unsigned ? 1 : 0;
    how.threads = options.threads;
    how.log = [](void*, ebts_log_level level, const char* text) {
        if (level == EBTS_LOG_WARNING) say(std::string("note: ") + text);
    };
    return ebts::Model(options.bundle, how);
}

void run(const Options& options) {
    const ebts::Model model = open_model(options);
    const ebts_model_info info = model.describe();
    Node node(model, options);
    running = &node;
    std::signal(SIGINT, [](int) { running->stop(); });
    std::signal(SIGTERM, [](int) { running->stop(); });
    say(std::string(info.name) + ": " + info.backend + ", " + info.precision +
        "; research software, not a medical device");
    say("results at " + node.address().text());
    if (!node.address().loopback()) {
        say("note: whoever reaches that address sees them, as OpenIGTLink has no authentication");
    }
    node.run();
    std::signal(SIGINT, SIG_IGN);
    std::signal(SIGTERM, SIG_IGN);
    say("stopped");
}

int fail(const std::string& text, int code) {
    say(text);
    return code;
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    for (const auto& argument : arguments) {
        if (argument == "--help" || argument == "-h") return std::printf("%s", kHelp) < 0;
        if (argument == "--version") return std::printf("%s\n", ebts_version()) < 0;
    }
    std::setvbuf(stderr, nullptr, _IOLBF, BUFSIZ);
    std::string serve;
    try {
        const Options options = parse_options(arguments);
        serve = options.serve;
        run(options);
        return EXIT_SUCCESS;
    } catch (const UsageError& error) {
        return fail(error.what(), kInput);
    } catch (const ebts::Error& error) {
        return fail(error.what(), exit_code(error.status()));
    } catch (const std::system_error& error) {
        return fail("Expected to serve results at " + serve + ", but " + error.code().message() +
                        "; choose another --serve.",
                    kEnvironment);
    } catch (const std::exception& error) {
        return fail(std::string("Internal error: ") + error.what(), kInternal);
    }
}
