// Reads an image for the examples.
#pragma once

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

struct Image {
    std::uint32_t width = 0;
    std::uint32_t height = 0;
    std::vector<std::uint8_t> pixels;
};

/// Reads a raw PGM (P5) of 8 bits without comments. Throws std::runtime_error if it is none.
inline Image read_pgm(const char* path) {
    Image image;
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    unsigned white = 0;
    file >> kind >> image.width >> image.height >> white;
    file.get();
    if (kind == "P5" && white == 255 && image.width <= 16384 && image.height <= 16384) {
        image.pixels.resize(std::size_t{image.width} * image.height);
        file.read(reinterpret_cast<char*>(image.pixels.data()),
                  static_cast<std::streamsize>(image.pixels.size()));
    }
    if (!file || image.pixels.empty()) throw std::runtime_error("expected a raw PGM of 8 bits");
    return image;
}
