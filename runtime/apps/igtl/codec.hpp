// OpenIGTLink messages to and from bytes: header versions 1 and 2, no sockets, no dependency.
//
// Protocol 3 (https://github.com/openigtlink/OpenIGTLink, Documents/Protocol). A message is a
// header of 58 bytes and a body; all numbers are big-endian. In version 2 the body is an extended
// header, the content, and metadata: pairs of key and value.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace edge_bts::igtl {

constexpr std::size_t kHeaderSize = 58;
constexpr std::size_t kExtendedHeaderSize = 12;
constexpr std::size_t kImageHeaderSize = 72;

/// What can be wrong with what a peer sends.
enum class Fault {
    version,   ///< Of the header: neither 1 nor 2. The stream is out of step.
    size,      ///< A body above the cap.
    checksum,  ///< The body is not what its CRC says.
    content    ///< The body is not what its type says.
};
constexpr std::size_t kFaults = 4;

/// One sentence: what was expected and what came.
class WireError : public std::runtime_error {
  public:
    WireError(Fault fault, const std::string& text) : std::runtime_error(text), fault_(fault) {}

    Fault fault() const noexcept { return fault_; }

  private:
    Fault fault_;
};

/// Bytes that somebody else owns.
struct Span {
    const std::uint8_t* data = nullptr;
    std::size_t size = 0;
};

/// Memory for one body, taken once: what a peer announces allocates nothing.
class Buffer {
  public:
    explicit Buffer(std::size_t capacity)
        : data_(new std::uint8_t[capacity]), capacity_(capacity) {}

    std::uint8_t* data() noexcept { return data_.get(); }
    std::size_t capacity() const noexcept { return capacity_; }

  private:
    std::unique_ptr<std::uint8_t[]> data_;
    std::size_t capacity_;
};

struct Header {
    std::uint16_t version = 1;
    std::string type;             ///< "IMAGE", ...; at most 12 bytes, whatever the peer chose.
    std::string device;           ///< At most 20 bytes, likewise.
    std::uint64_t timestamp = 0;  ///< Seconds, 32.32 fixed point, of a clock of the peer's own.
    std::uint64_t body_size = 0;
    std::uint64_t crc = 0;
};

/// Parses kHeaderSize bytes. Throws WireError version, or size if the body is above `most_body`.
Header parse_header(const std::uint8_t* bytes, std::uint64_t most_body);

using Metadata = std::vector<std::pair<std::string_view, std::string_view>>;

/// A body taken apart; it points into the bytes that it was parsed from.
struct Body {
    std::uint32_t id = 0;  ///< Version 2.
    Span content;
    Metadata metadata;  ///< Version 2. Any bytes: a peer may claim an encoding and keep to none.
};

/// Checks the CRC and takes a whole body apart. Throws WireError checksum or content.
Body parse_body(const Header& header, Span bytes);

enum class Scalar : std::uint8_t {
    int8 = 2,
    uint8 = 3,
    int16 = 4,
    uint16 = 5,
    int32 = 6,
    uint32 = 7,
    float32 = 10,
    float64 = 11
};

/// Twelve big-endian floats as they travel: what is not computed with comes back to the bit.
using Matrix = std::array<std::uint8_t, 48>;

struct Image {
    std::uint8_t components = 1;
    Scalar scalar = Scalar::uint8;
    bool little_endian = true;
    std::uint8_t coordinates = 1;         ///< 1: RAS, 2: LPS.
    std::array<std::uint16_t, 3> size{};  ///< Columns, rows, slices; none is 0.
    Matrix matrix{};  ///< Column i, column j, column k in mm, then the position of the centre.
    Span pixels;      ///< Exactly as many bytes as the above says.
};

/// Takes the content of an IMAGE apart. Throws WireError content.
Image parse_image(Span content);

/// Entry 0 to 11 of a matrix.
float entry(const Matrix& matrix, std::size_t index) noexcept;

/// The content of a TRANSFORM: the columns of a 3 x 4 matrix. Throws WireError content.
Matrix parse_transform(Span content);

/// The text of a STRING, which is text in any encoding. Throws WireError content.
std::string_view parse_string(Span content);

struct Status {
    std::uint16_t code = 1;  ///< 1: OK; 7: timeout or connection lost; 13: not ready.
    std::uint64_t subcode = 0;
    std::string_view name;  ///< At most 20 bytes.
    std::string_view text;
};

/// Takes the content of a STATUS apart. Throws WireError content.
Status parse_status(Span content);

/// What every message that is written has.
struct Envelope {
    std::uint16_t version = 1;
    std::string_view device;  ///< Cut after 20 bytes.
    std::uint64_t timestamp = 0;
    std::uint32_t id = 0;  ///< Travels in version 2.
};

/// Append a whole message to `out`. Metadata travels in version 2; keys up to 65535 bytes.
void append_image(std::vector<std::uint8_t>& out, const Envelope& envelope, const Image& image,
                  const Metadata& metadata = {});
void append_transform(std::vector<std::uint8_t>& out, const Envelope& envelope,
                      const Matrix& matrix);
/// `text` is UTF-8 of at most 65535 bytes. Throws std::length_error.
void append_string(std::vector<std::uint8_t>& out, const Envelope& envelope, std::string_view text);
void append_status(std::vector<std::uint8_t>& out, const Envelope& envelope, const Status& status);

/// Makes messages of a stream of bytes that comes in pieces.
class Assembler {
  public:
    /// `most_body`: larger bodies are refused. `keep`: whether bodies are wanted, in buffers of at
    /// least that capacity; what is not wanted passes through a buffer of any.
    Assembler(std::uint64_t most_body, bool keep) : most_body_(most_body), keep_(keep) {}

    /// Where the next bytes go, and how many of them at most, which is never 0. `body` is the same
    /// until a message is whole.
    std::pair<std::uint8_t*, std::size_t> room(Buffer& body) noexcept;

    /// Tells that `count` bytes came to where room() said. Returns true if the message is whole:
    /// its header is header(), its body, if wanted, in the buffer. Throws WireError.
    bool filled(std::size_t count);

    /// Of the message that is whole or under way; of the latter once 58 bytes are here.
    const Header& header() const noexcept { return header_; }

    /// Whether a message has begun and is not whole.
    bool midway() const noexcept { return had_ > 0; }

    /// Forgets what came: the next byte begins a message.
    void reset() noexcept { had_ = 0; }

  private:
    std::uint64_t most_body_;
    bool keep_;
    std::array<std::uint8_t, kHeaderSize> start_{};
    std::uint64_t had_ = 0;  ///< Bytes of the message that are here.
    Header header_;
};

}  // namespace edge_bts::igtl
