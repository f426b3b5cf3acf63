#include "codec.hpp"

#include <algorithm>
#include <cstring>

#include "crc64.hpp"

namespace edge_bts::igtl {
namespace {

constexpr std::size_t kTypeSize = 12;
constexpr std::size_t kDeviceSize = 20;
constexpr std::size_t kStatusNameSize = 20;
constexpr std::uint16_t kUtf8 = 106;  // IANA's MIBenum
constexpr std::uint16_t kAscii = 3;
constexpr std::size_t kMostText = 65535;

/// Reads big-endian numbers in turn; whoever takes more than there is gets a WireError.
class Reader {
  public:
    Reader(Span bytes, const char* what) : bytes_(bytes), what_(what) {}

    Span take(std::size_t count) {
        if (count > bytes_.size) {
            throw WireError(Fault::content, std::string("expected ") + what_ + " of at least " +
                                                std::to_string(count) + " more bytes, but got " +
                                                std::to_string(bytes_.size));
        }
        const Span taken{bytes_.data, count};
        bytes_ = {bytes_.data + count, bytes_.size - count};
        return taken;
    }

    template <typename T>
    T number() {
        const Span taken = take(sizeof(T));
        T value = 0;
        for (std::size_t i = 0; i < sizeof(T); ++i) {
            value = static_cast<T>((static_cast<std::uint64_t>(value) << 8) | taken.data[i]);
        }
        return value;
    }

    std::string_view text(std::size_t count) {
        const Span taken = take(count);
        return {reinterpret_cast<const char*>(taken.data), taken.size};
    }

    /// Text that ends at the first NUL, or after `count` bytes.
    std::string_view padded(std::size_t count) {
        const std::string_view all = text(count);
        return all.substr(0, all.find('\0'));
    }

    std::size_t left() const noexcept { return bytes_.size; }

  private:
    Span bytes_;
    const char* what_;
};

template <typename T>
void put(std::vector<std::uint8_t>& out, T value) {
    for (std::size_t i = sizeof(T); i-- > 0;) {
        out.push_back(static_cast<std::uint8_t>(static_cast<std::uint64_t>(value) >> (8 * i)));
    }
}

void put(std::vector<std::uint8_t>& out, std::string_view text) {
    out.insert(out.end(), text.begin(), text.end());
}

void put(std::vector<std::uint8_t>& out, Span bytes) {
    out.insert(out.end(), bytes.data, bytes.data + bytes.size);
}

void put_padded(std::vector<std::uint8_t>& out, std::string_view text, std::size_t size) {
    text = text.substr(0, size);
    put(out, text);
    out.insert(out.end(), size - text.size(), 0);
}

std::size_t bytes_of(Scalar scalar) {
    switch (scalar) {
        case Scalar::int8:
        case Scalar::uint8:
            return 1;
        case Scalar::int16:
        case Scalar::uint16:
            return 2;
        case Scalar::int32:
        case Scalar::uint32:
        case Scalar::float32:
            return 4;
        case Scalar::float64:
            return 8;
    }
    throw WireError(Fault::content, "expected a scalar type of an IMAGE, but got " +
                                        std::to_string(static_cast<unsigned>(scalar)));
}

std::uint64_t image_bytes(const Image& image) {
    return std::uint64_t{1} * image.size[0] * image.size[1] * image.size[2] * image.components *
           bytes_of(image.scalar);  // below 2^16^3 * 2^8 * 2^3 = 2^59
}

/// Writes header and body around the content that `content` appends.
template <typename Content>
void append(std::vector<std::uint8_t>& out, const Envelope& envelope, std::string_view type,
            const Metadata& metadata, const Content& content) {
    const std::size_t start = out.size();
    put(out, envelope.version);
    put_padded(out, type, kTypeSize);
    put_padded(out, envelope.device, kDeviceSize);
    put(out, envelope.timestamp);
    const std::size_t promise = out.size();  // body size and CRC, known at the end
    out.insert(out.end(), 16, 0);
    if (envelope.version >= 2) {
        std::size_t text = 0;
        for (const auto& [key, value] : metadata) text += key.size() + value.size();
        put(out, static_cast<std::uint16_t>(kExtendedHeaderSize));
        put(out, static_cast<std::uint16_t>(2 + 8 * metadata.size()));
        put(out, static_cast<std::uint32_t>(text));
        put(out, envelope.id);
    }
    content();
    if (envelope.version >= 2) {
        put(out, static_cast<std::uint16_t>(metadata.size()));
        for (const auto& [key, value] : metadata) {
            put(out, static_cast<std::uint16_t>(key.size()));
            put(out, kUtf8);
            put(out, static_cast<std::uint32_t>(value.size()));
        }
        for (const auto& [key, value] : metadata) {
            put(out, key);
            put(out, value);
        }
    }
    const std::size_t body = start + kHeaderSize;
    const std::uint64_t size = out.size() - body;
    const std::uint64_t crc = crc64(out.data() + body, out.size() - body);
    for (std::size_t i = 0; i < 8; ++i) {
        out[promise + i] = static_cast<std::uint8_t>(size >> (56 - 8 * i));
        out[promise + 8 + i] = static_cast<std::uint8_t>(crc >> (56 - 8 * i));
    }
}

Metadata parse_metadata(Span heads, Span texts) {
    Reader head(heads, "the heads of metadata");
    Reader text(texts, "metadata");
    Metadata metadata;
    if (heads.size == 0) return metadata;
    const auto count = head.number<std::uint16_t>();
    if (head.left() / 8 < count) {  // before memory is taken for them
        throw WireError(Fault::content, "expected heads for " + std::to_string(count) +
                                            " pairs of metadata, but got " +
                                            std::to_string(head.left()) + " bytes");
    }
    metadata.reserve(count);
    for (std::uint16_t i = 0; i < count; ++i) {
        const auto key_size = head.number<std::uint16_t>();
        head.number<std::uint16_t>();  // the encoding, which nobody here needs
        const auto value_size = head.number<std::uint32_t>();
        const std::string_view key = text.text(key_size);
        metadata.emplace_back(key, text.text(value_size));
    }
    return metadata;
}

}  // namespace

Header parse_header(const std::uint8_t* bytes, std::uint64_t most_body) {
    Reader reader({bytes, kHeaderSize}, "a header");
    Header header;
    header.version = reader.number<std::uint16_t>();
    if (header.version != 1 && header.version != 2) {
        throw WireError(Fault::version, "expected a header of version 1 or 2, but got " +
                                            std::to_string(header.version));
    }
    header.type = reader.padded(kTypeSize);
    header.device = reader.padded(kDeviceSize);
    header.timestamp = reader.number<std::uint64_t>();
    header.body_size = reader.number<std::uint64_t>();
    header.crc = reader.number<std::uint64_t>();
    if (header.body_size > most_body) {
        throw WireError(Fault::size, "expected a body of at most " + std::to_string(most_body) +
                                         " bytes, but " + std::to_string(header.body_size) +
                                         " are announced");
    }
    return header;
}

Body parse_body(const Header& header, Span bytes) {
    if (crc64(bytes.data, bytes.size) != header.crc) {
        throw WireError(Fault::checksum, "expected a body with the CRC of its header");
    }
    Body body;
    if (header.version < 2) {
        body.content = bytes;
        return body;
    }
    Reader reader(bytes, "a body with an extended header");
    const auto extended = reader.number<std::uint16_t>();
    const auto heads = reader.number<std::uint16_t>();
    const auto texts = reader.number<std::uint32_t>();
    body.id = reader.number<std::uint32_t>();
    if (extended < kExtendedHeaderSize) {
        throw WireError(Fault::content, "expected an extended header of at least 12 bytes, but " +
                                            std::to_string(extended) + " are announced");
    }
    reader.take(extended - kExtendedHeaderSize);
    const std::uint64_t tail = std::uint64_t{heads} + texts;
    if (tail > reader.left()) {
        throw WireError(Fault::content, "expected a body that holds its metadata of " +
                                            std::to_string(tail) + " bytes, but " +
                                            std::to_string(reader.left()) + " are there");
    }
    body.content = reader.take(reader.left() - static_cast<std::size_t>(tail));
    const Span head_bytes = reader.take(heads);
    body.metadata = parse_metadata(head_bytes, reader.take(texts));
    return body;
}

Image parse_image(Span content) {
    Reader reader(content, "an IMAGE");
    const auto version = reader.number<std::uint16_t>();
    if (version != 1) {
        throw WireError(Fault::content, "expected version 1 of the image format, but got " +
                                            std::to_string(version));
    }
    Image image;
    image.components = reader.number<std::uint8_t>();
    image.scalar = static_cast<Scalar>(reader.number<std::uint8_t>());
    const auto endian = reader.number<std::uint8_t>();
    image.coordinates = reader.number<std::uint8_t>();
    for (auto& size : image.size) size = reader.number<std::uint16_t>();
    const Span matrix = reader.take(image.matrix.size());
    std::copy(matrix.data, matrix.data + matrix.size, image.matrix.begin());
    std::array<std::uint16_t, 3> offset{};
    std::array<std::uint16_t, 3> part{};
    for (auto& value : offset) value = reader.number<std::uint16_t>();
    for (auto& value : part) value = reader.number<std::uint16_t>();
    if (endian != 1 && endian != 2) {
        throw WireError(Fault::content, "expected byte order 1 or 2 of the pixels, but got " +
                                            std::to_string(endian));
    }
    image.little_endian = endian == 2;
    if (offset != std::array<std::uint16_t, 3>{} || part != image.size) {
        throw WireError(Fault::content, "expected a whole image, but got a part of one");
    }
    const std::uint64_t expected = image_bytes(image);
    if (expected == 0 || expected != reader.left()) {
        throw WireError(Fault::content, "expected " + std::to_string(image.size[0]) + " x " +
                                            std::to_string(image.size[1]) + " x " +
                                            std::to_string(image.size[2]) + " pixels in " +
                                            std::to_string(expected) + " bytes, but " +
                                            std::to_string(reader.left()) + " are there");
    }
    image.pixels = reader.take(reader.left());
    return image;
}

float entry(const Matrix& matrix, std::size_t index) noexcept {
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < 4; ++i) bits = (bits << 8) | matrix[4 * index + i];
    float value = 0;
    static_assert(sizeof value == sizeof bits);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

Matrix parse_transform(Span content) {
    Matrix matrix;
    const Span bytes = Reader(content, "a TRANSFORM").take(matrix.size());
    std::copy(bytes.data, bytes.data + bytes.size, matrix.begin());
    return matrix;
}

std::string_view parse_string(Span content) {
    Reader reader(content, "a STRING");
    reader.number<std::uint16_t>();  // the encoding
    return reader.text(reader.number<std::uint16_t>());
}

Status parse_status(Span content) {
    Reader reader(content, "a STATUS");
    Status status;
    status.code = reader.number<std::uint16_t>();
    status.subcode = reader.number<std::uint64_t>();
    status.name = reader.padded(kStatusNameSize);
    status.text = reader.padded(reader.left());
    return status;
}

void append_image(std::vector<std::uint8_t>& out, const Envelope& envelope, const Image& image,
                  const Metadata& metadata) {
    append(out, envelope, "IMAGE", metadata, [&] {
        put(out, std::uint16_t{1});
        put(out, image.components);
        put(out, static_cast<std::uint8_t>(image.scalar));
        put(out, static_cast<std::uint8_t>(image.little_endian ? 2 : 1));
        put(out, image.coordinates);
        for (const auto size : image.size) put(out, size);
        put(out, Span{image.matrix.data(), image.matrix.size()});
        out.insert(out.end(), 6, 0);  // the whole image begins at 0
        for (const auto size : image.size) put(out, size);
        put(out, image.pixels);
    });
}

void append_transform(std::vector<std::uint8_t>& out, const Envelope& envelope,
                      const Matrix& matrix) {
    append(out, envelope, "TRANSFORM", {}, [&] { put(out, Span{matrix.data(), matrix.size()}); });
}

void append_string(std::vector<std::uint8_t>& out, const Envelope& envelope,
                   std::string_view text) {
    if (text.size() > kMostText) throw std::length_error("a STRING holds at most 65535 bytes");
    const bool ascii = std::all_of(text.begin(), text.end(),
                                   [](char c) { return static_cast<unsigned char>(c) < 128; });
    append(out, envelope, "STRING", {}, [&] {
        put(out, ascii ? kAscii : kUtf8);
        put(out, static_cast<std::uint16_t>(text.size()));
        put(out, text);
    });
}

void append_status(std::vector<std::uint8_t>& out, const Envelope& envelope, const Status& status) {
    append(out, envelope, "STATUS", {}, [&] {
        put(out, status.code);
        put(out, status.subcode);
        put_padded(out, status.name, kStatusNameSize);
        put(out, status.text);
        out.push_back(0);
    });
}

std::pair<std::uint8_t*, std::size_t> Assembler::room(Buffer& body) noexcept {
    if (had_ < kHeaderSize) {
        return {start_.data() + had_, kHeaderSize - static_cast<std::size_t>(had_)};
    }
    const std::uint64_t had = had_ - kHeaderSize;
    const std::uint64_t left = header_.body_size - had;
    if (keep_) return {body.data() + had, static_cast<std::size_t>(left)};
    return {body.data(), static_cast<std::size_t>(std::min<std::uint64_t>(left, body.capacity()))};
}

bool Assembler::filled(std::size_t count) {
    const bool had_header = had_ >= kHeaderSize;
    had_ += count;
    if (had_ < kHeaderSize) return false;
    if (!had_header) header_ = parse_header(start_.data(), most_body_);
    if (had_ < kHeaderSize + header_.body_size) return false;
    had_ = 0;
    return true;
}

}  // namespace edge_bts::igtl
