// OpenIGTLink messages: what is written is read again, and nothing that a peer can send does harm.
#include <doctest/doctest.h>

#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "codec.hpp"
#include "crc64.hpp"
#include "support.hpp"

namespace {

using namespace edge_bts::igtl;
using Bytes = std::vector<std::uint8_t>;

constexpr std::uint16_t kVersions[] = {1, 2};

/// The definition of the CRC, one bit at a time: long division of polynomials.
std::uint64_t crc_by_definition(const Bytes& bytes) {
    std::uint64_t rest = 0;
    for (const std::uint8_t byte : bytes) {
        rest ^= std::uint64_t{byte} << 56;
        for (int bit = 0; bit < 8; ++bit) {
            const bool carry = (rest >> 63) != 0;
            rest <<= 1;
            if (carry) rest ^= 0x42F0E1EBA9EA3693U;
        }
    }
    return rest;
}

Matrix some_matrix() {
    Matrix matrix;
    const auto bytes = support::bytes(matrix.size(), 4);
    std::copy(bytes.begin(), bytes.end(), matrix.begin());
    return matrix;
}

Image some_image(const Bytes& pixels) {
    Image image;
    image.components = 3;
    image.coordinates = 2;
    image.size = {5, 4, 1};
    image.matrix = some_matrix();
    image.pixels = {pixels.data(), pixels.size()};
    return image;
}

Envelope some_envelope(std::uint16_t version) {
    Envelope envelope;
    envelope.version = version;
    envelope.device = "Image_Image";
    envelope.timestamp = 0x123456789ABCDEF0U;
    envelope.id = 77;
    return envelope;
}

Bytes image_message(std::uint16_t version) {
    Bytes out;
    append_image(out, some_envelope(version), some_image(support::bytes(60, 1)),
                 {{"micronsPerPixel", "80"}, {"", "empty key"}, {"empty value", ""}});
    return out;
}

/// Every kind of message in both versions.
std::vector<Bytes> messages() {
    std::vector<Bytes> all;
    for (const std::uint16_t version : kVersions) {
        all.push_back(image_message(version));
        const Envelope envelope = some_envelope(version);
        append_transform(all.emplace_back(), envelope, some_matrix());
        append_string(all.emplace_back(), envelope, "{\"area\": 3}");
        Status status;
        status.code = 13;
        status.name = "STALE";
        status.text = "no image server";
        append_status(all.emplace_back(), envelope, status);
    }
    return all;
}

Body body_of(const Bytes& message) {
    const Header header = parse_header(message.data(), message.size());
    return parse_body(header, {message.data() + kHeaderSize, message.size() - kHeaderSize});
}

/// Parses all that can be parsed of a body that is said to be of a type.
void parse_content(const Header& header, Span bytes) {
    const Body body = parse_body(header, bytes);
    if (header.type == "IMAGE") parse_image(body.content);
    if (header.type == "TRANSFORM") parse_transform(body.content);
    if (header.type == "STRING") parse_string(body.content);
    if (header.type == "STATUS") parse_status(body.content);
}

/// The fault that parsing a message ends in, or nothing.
std::string fault_of(const Bytes& message) {
    try {
        const Header header = parse_header(message.data(), 1000);
        // A copy of its own size, so that the sanitizer sees a byte that is read beyond it.
        const Bytes body(message.begin() + kHeaderSize, message.end());
        parse_content(header, {body.data(), body.size()});
    } catch (const WireError& error) {
        CHECK(std::string(error.what()).find("expected") == 0);
        switch (error.fault()) {
            case Fault::version:
                return "version";
            case Fault::size:
                return "size";
            case Fault::checksum:
                return "checksum";
            case Fault::content:
                return "content";
        }
    }
    return "";
}

/// Writes the right CRC and body size into a message that was tampered with.
void mend(Bytes& message) {
    const std::uint64_t size = message.size() - kHeaderSize;
    const std::uint64_t crc = crc64(message.data() + kHeaderSize, message.size() - kHeaderSize);
    for (std::size_t i = 0; i < 8; ++i) {
        message[42 + i] = static_cast<std::uint8_t>(size >> (56 - 8 * i));
        message[50 + i] = static_cast<std::uint8_t>(crc >> (56 - 8 * i));
    }
}

}  // namespace

TEST_CASE("the CRC is that of the catalogue, and of its definition at every length and start") {
    const std::string check = "123456789";  // CRC-64/ECMA-182 in the catalogue of CRC algorithms
    CHECK(crc64(reinterpret_cast<const std::uint8_t*>(check.data()), check.size()) ==
          0x6C40DF5F0B497347U);
    const Bytes bytes = support::bytes(100, 2);
    for (std::size_t start = 0; start < 20; ++start) {
        for (std::size_t end = start; end <= bytes.size(); ++end) {
            const Bytes part(bytes.begin() + long(start), bytes.begin() + long(end));
            REQUIRE(crc64(bytes.data() + start, end - start) == crc_by_definition(part));
        }
    }
}

TEST_CASE("a CRC can be continued") {
    const Bytes bytes = support::bytes(1000, 3);
    for (std::size_t cut = 0; cut <= bytes.size(); cut += 7) {
        const auto first = crc64(bytes.data(), cut);
        CHECK(crc64(bytes.data() + cut, bytes.size() - cut, first) == crc_by_definition(bytes));
    }
}

TEST_CASE("an image comes back with every field, in both versions") {
    for (const std::uint16_t version : kVersions) {
        const Bytes message = image_message(version);
        const Header header = parse_header(message.data(), message.size());
        CHECK(header.version == version);
        CHECK(header.type == "IMAGE");
        CHECK(header.device == "Image_Image");
        CHECK(header.timestamp == 0x123456789ABCDEF0U);
        CHECK(header.body_size == message.size() - kHeaderSize);
        const Body body = body_of(message);
        CHECK(body.id == (version == 2 ? 77 : 0));
        const Metadata sent = {{"micronsPerPixel", "80"}, {"", "empty key"}, {"empty value", ""}};
        CHECK((body.metadata == (version == 2 ? sent : Metadata{})));
        const Image image = parse_image(body.content);
        const Bytes pixels = support::bytes(60, 1);
        CHECK(image.components == 3);
        CHECK(image.scalar == Scalar::uint8);
        CHECK(image.little_endian);
        CHECK(image.coordinates == 2);
        CHECK(image.size == std::array<std::uint16_t, 3>{5, 4, 1});
        CHECK(image.matrix == some_matrix());
        CHECK(Bytes(image.pixels.data, image.pixels.data + image.pixels.size) == pixels);
    }
}

TEST_CASE("transform, string and status come back, in both versions") {
    for (const std::uint16_t version : kVersions) {
        const Envelope envelope = some_envelope(version);
        Bytes transform, text, state;
        append_transform(transform, envelope, some_matrix());
        CHECK(parse_transform(body_of(transform).content) == some_matrix());
        append_string(text, envelope, "3 \xC2\xB5m");
        CHECK(parse_string(body_of(text).content) == "3 \xC2\xB5m");
        Status status;
        status.code = 13;
        status.subcode = 5;
        status.name = "STALE";
        status.text = "no image server";
        append_status(state, envelope, status);
        const Bytes whole = state;
        const Body body = body_of(whole);
        const Status got = parse_status(body.content);
        CHECK(got.code == 13);
        CHECK(got.subcode == 5);
        CHECK(got.name == "STALE");
        CHECK(got.text == "no image server");
    }
}

TEST_CASE("a name that is too long is cut, a text that is too long is refused") {
    Bytes out;
    Envelope envelope;
    envelope.device = "a name of more than twenty bytes";
    append_string(out, envelope, std::string(65535, 'x'));
    CHECK(parse_header(out.data(), out.size()).device == "a name of more than ");
    CHECK(parse_string(body_of(out).content).size() == 65535);
    CHECK_THROWS_AS(append_string(out, envelope, std::string(65536, 'x')), std::length_error);
}

TEST_CASE("a matrix entry is a big-endian float") {
    Matrix matrix{};
    const std::uint8_t bytes[] = {0x3D, 0xA3, 0xD7, 0x0A};  // 0.08
    std::copy(std::begin(bytes), std::end(bytes), matrix.begin() + 16);
    CHECK(entry(matrix, 4) == 0.08F);
    CHECK(entry(matrix, 3) == 0.0F);
}

TEST_CASE("another version or a body above the cap is refused by the header alone") {
    Bytes message = image_message(1);
    CHECK_THROWS_AS(parse_header(message.data(), 131), WireError);
    CHECK_NOTHROW(parse_header(message.data(), 132));
    for (const std::uint8_t version : Bytes{0, 3, 255}) {
        message[1] = version;
        CHECK(fault_of(message) == "version");
    }
    message = image_message(1);
    std::fill_n(message.begin() + 42, 8, std::uint8_t{255});
    CHECK(fault_of(message) == "size");
}

TEST_CASE("every bit of a body that is flipped is found by the CRC") {
    for (const Bytes& message : messages()) {
        for (std::size_t i = kHeaderSize; i < message.size(); ++i) {
            for (int bit = 0; bit < 8; ++bit) {
                Bytes bad = message;
                bad[i] = static_cast<std::uint8_t>(bad[i] ^ (1 << bit));
                REQUIRE(fault_of(bad) == "checksum");
            }
        }
    }
}

TEST_CASE("a message cut at any length with a CRC to match is refused or is a shorter text") {
    for (const Bytes& message : messages()) {
        const std::string type = parse_header(message.data(), 1000).type;
        REQUIRE(fault_of(message) == "");
        for (std::size_t size = kHeaderSize; size < message.size(); ++size) {
            Bytes bad(message.begin(), message.begin() + long(size));
            mend(bad);
            const std::string fault = fault_of(bad);
            const bool text = type == "STATUS" && size >= kHeaderSize + 30;
            REQUIRE((fault == "content" || (text && fault == "")));
        }
    }
}

TEST_CASE("every byte of a body may have any value: it is parsed or refused") {
    int refused = 0;
    for (const Bytes& message : messages()) {
        for (std::size_t i = kHeaderSize; i < message.size(); ++i) {
            for (int value = 0; value < 256; ++value) {
                Bytes bad = message;
                bad[i] = static_cast<std::uint8_t>(value);
                mend(bad);
                if (fault_of(bad) == "content") ++refused;
            }
        }
    }
    CHECK(refused > 1000);
}

TEST_CASE("images that lie about themselves are refused") {
    const auto refused = [](std::size_t at, std::uint8_t value) {
        Bytes bad = image_message(1);
        bad[kHeaderSize + at] = value;
        mend(bad);
        return fault_of(bad) == "content";
    };
    CHECK(refused(1, 2));              // version of the image format
    CHECK(refused(2, 0));              // no component
    CHECK(refused(2, 4));              // more bytes than there are
    CHECK(refused(3, 1));              // no such scalar
    CHECK(refused(3, 5));              // twice the bytes
    CHECK(refused(4, 0));              // no such byte order
    CHECK(refused(7, 0));              // no column
    CHECK(refused(9, 200));            // more rows than there are
    CHECK(refused(61, 1));             // a part that begins elsewhere
    CHECK(refused(67, 4));             // a part that is smaller
    Bytes nothing = image_message(1);  // no pixels, and says so
    nothing.resize(kHeaderSize + 72);
    for (const std::size_t at : {6, 7, 66, 67}) nothing[kHeaderSize + at] = 0;
    mend(nothing);
    CHECK(fault_of(nothing) == "content");
    Bytes empty = image_message(1);
    empty.resize(kHeaderSize);
    mend(empty);
    CHECK(fault_of(empty) == "content");
}

TEST_CASE("a stream comes out as its messages however it is cut into pieces") {
    Bytes stream;
    const auto all = messages();
    for (const Bytes& message : all) stream.insert(stream.end(), message.begin(), message.end());
    for (std::size_t piece = 1; piece < 300; ++piece) {
        for (const bool keep : {true, false}) {
            Assembler assembler(1000, keep);
            Buffer buffer(keep ? 1000 : 16);
            std::size_t at = 0, whole = 0, upto = 0;
            while (at < stream.size()) {
                if (at == upto) upto = std::min(at + piece, stream.size());
                const auto [data, room] = assembler.room(buffer);
                REQUIRE(room > 0);
                const std::size_t count = std::min(room, upto - at);
                std::memcpy(data, stream.data() + at, count);
                at += count;
                if (!assembler.filled(count)) {
                    CHECK(assembler.midway());
                    continue;
                }
                CHECK(!assembler.midway());
                const Header& header = assembler.header();
                REQUIRE(header.body_size + kHeaderSize == all.at(whole).size());
                if (keep) {
                    parse_content(header, {buffer.data(), std::size_t(header.body_size)});
                }
                ++whole;
            }
            REQUIRE(whole == all.size());
        }
    }
}

TEST_CASE("what is not kept may be of any size and touches no more than its buffer") {
    Bytes start = image_message(1);
    std::fill_n(start.begin() + 42, 8, std::uint8_t{127});
    Assembler assembler(std::numeric_limits<std::uint64_t>::max() - kHeaderSize, false);
    Buffer buffer(16);
    const auto first = assembler.room(buffer);
    REQUIRE(first.second == kHeaderSize);
    std::memcpy(first.first, start.data(), kHeaderSize);
    CHECK(!assembler.filled(kHeaderSize));
    for (int i = 0; i < 1000; ++i) {
        const auto [data, room] = assembler.room(buffer);
        CHECK(data == buffer.data());
        CHECK(room == 16);
        CHECK(!assembler.filled(room));
    }
}

TEST_CASE("a message without a body is whole with its header") {
    Bytes message = image_message(1);
    message.resize(kHeaderSize);
    mend(message);
    Assembler assembler(1000, true);
    Buffer buffer(1000);
    std::memcpy(assembler.room(buffer).first, message.data(), kHeaderSize);
    CHECK(assembler.filled(kHeaderSize));
}
