// What an OpenIGTLink peer can send: a stream in pieces, whose messages are taken apart to the last
// number. The first byte of the input is the length of the pieces.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "codec.hpp"
#include "crc64.hpp"
#include "frame.hpp"

namespace {

using namespace edge_bts::igtl;

constexpr std::size_t kMostBody = 4096;

void require(bool holds) {
    if (!holds) std::abort();
}

bool same(Span a, Span b) {
    return a.size == b.size && std::equal(a.data, a.data + a.size, b.data);
}

/// Whoever reads an image wrongly writes another one.
void check_image(const Image& image, const Body& body) {
    std::vector<std::uint8_t> out;
    Envelope envelope;
    envelope.version = 2;
    envelope.id = body.id;
    append_image(out, envelope, image, body.metadata);
    const Header header = parse_header(out.data(), out.size());
    const Body again = parse_body(header, {out.data() + kHeaderSize, out.size() - kHeaderSize});
    require(again.id == body.id && again.metadata == body.metadata);
    require(same(again.content, body.content));
    try {
        const ebts_frame frame = library_frame(image, Options());
        const std::size_t sizes[] = {0, 1, 2, 3, 3, 4, 4};
        require(sizes[frame.format] * frame.width * frame.height == image.pixels.size);
    } catch (const WireError&) {
    }
    const Spacing spacing = spacing_of(body.metadata, image.matrix, 0.0);
    require(spacing.mm == 0.0 || (spacing.mm > 1e-5 && spacing.mm < 1e3));
}

void take_apart(const Header& header, Span bytes) {
    const Body body = parse_body(header, bytes);
    // Every byte that the parts point to is there.
    std::uint8_t sum = 0;
    for (const auto& [key, value] : body.metadata) {
        for (const char c : key) sum = static_cast<std::uint8_t>(sum + c);
        for (const char c : value) sum = static_cast<std::uint8_t>(sum + c);
    }
    if (header.type == "IMAGE") check_image(parse_image(body.content), body);
    if (header.type == "TRANSFORM") sum = parse_transform(body.content)[sum % 48];
    if (header.type == "STRING") require(parse_string(body.content).size() <= bytes.size);
    if (header.type == "STATUS") require(parse_status(body.content).text.size() <= bytes.size);
    require(printable(header.device).size() == header.device.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::size_t piece = 1 + std::size_t{*data++};
    --size;
    Assembler assembler(kMostBody, true);
    Buffer buffer(kMostBody);
    try {
        while (size > 0) {
            const auto [to, room] = assembler.room(buffer);
            const std::size_t count = std::min({room, size, piece});
            require(room > 0);
            std::memcpy(to, data, count);
            data += count;
            size -= count;
            if (!assembler.filled(count)) continue;
            Header header = assembler.header();
            // Memory of its very size, so that a sanitizer sees a byte that is read beyond it.
            const std::vector<std::uint8_t> body(buffer.data(), buffer.data() + header.body_size);
            try {
                take_apart(header, {body.data(), body.size()});
            } catch (const WireError&) {
            }
            try {
                header.crc = crc64(body.data(), body.size());  // which no fuzzer guesses
                take_apart(header, {body.data(), body.size()});
            } catch (const WireError&) {
            }
        }
    } catch (const WireError&) {  // out of step: the connection ends
    }
    return 0;
}
