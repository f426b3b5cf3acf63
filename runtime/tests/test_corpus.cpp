// The kept inputs of the fuzzers, with any compiler and under every sanitizer.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "targets.hpp"

TEST_CASE("what fuzzing has found or started from is read or refused") {
    using Target = void (*)(const std::uint8_t*, std::size_t);
    for (const auto& [name, target] : {std::pair<const char*, Target>{"manifest", fuzz::manifest},
                                       {"golden", fuzz::golden},
                                       {"bundle", fuzz::bundle},
                                       {"frame", fuzz::frame},
                                       {"options", fuzz::options}}) {
        int inputs = 0;
        for (const auto& entry :
             std::filesystem::directory_iterator(std::string(EDGE_BTS_CORPUS) + "/" + name)) {
            std::ifstream file(entry.path(), std::ios::binary);
            const std::vector<std::uint8_t> bytes((std::istreambuf_iterator<char>(file)),
                                                  std::istreambuf_iterator<char>());
            INFO(entry.path().string());
            CHECK_NOTHROW(target(bytes.data(), bytes.size()));
            ++inputs;
        }
        CHECK(inputs >= 3);
    }
}
