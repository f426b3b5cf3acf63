#include "golden.hpp"

#include <cmath>
#include <cstring>
#include <stdexcept>

#include "failure.hpp"
#include "json.hpp"

namespace edge_bts {
namespace {

// safetensors: 8 bytes of length (little-endian), that many bytes of JSON, then the tensors.
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are read as they lie there");
constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 1 << 20;

struct Tensor {
    const std::uint8_t* data;
    std::uint64_t begin;
    std::uint64_t end;
};

std::uint64_t count_of(const Json& value, const char* what) {
    if (!value.is_number_unsigned()) throw std::runtime_error(std::string(what) + " is no count");
    return value.get<std::uint64_t>();
}

/// The tensor of that name, whose shape must be (N, side, side); N is set or must be met.
Tensor tensor_of(const Json& header, const char* name, const char* dtype, std::uint64_t item,
                 std::uint64_t side, std::uint64_t& count, const std::uint8_t* body,
                 std::uint64_t body_size) {
    const Json& entry = header.at(name);
    const Json& shape = entry.at("shape");
    const Json& offsets = entry.at("data_offsets");
    if (entry.at("dtype") != dtype || !shape.is_array() || shape.size() != 3 ||
        !offsets.is_array() || offsets.size() != 2) {
        throw std::runtime_error(std::string(name) + " is of another kind");
    }
    const std::uint64_t frames = count_of(shape[0], "a side");
    if (count == 0) count = frames;
    const std::uint64_t begin = count_of(offsets[0], "an offset");
    const std::uint64_t end = count_of(offsets[1], "an offset");
    if (frames == 0 || frames != count || count_of(shape[1], "a side") != side ||
        count_of(shape[2], "a side") != side || begin > end || end > body_size) {
        throw std::runtime_error(std::string(name) + " has another shape or reaches too far");
    }
    // side is at most 4096 and end - begin at most the size of a buffer: the quotient cannot wrap.
    const std::uint64_t frame_bytes = item * side * side;
    if ((end - begin) % frame_bytes != 0 || (end - begin) / frame_bytes != frames) {
        throw std::runtime_error(std::string(name) + " has another size than its shape");
    }
    return {body + begin, begin, end};
}

double share(const Json& value) {
    const double number = value.get<double>();
    if (!(number >= 0) || !std::isfinite(number)) throw std::runtime_error("a tolerance below 0");
    return number;
}

void read_tolerance(const std::string& text, Golden& golden) {
    const Json record = parse_json(text.data(), text.size());
    const auto threshold = record.at("threshold").get<double>();
    if (!(threshold > 0 && threshold < 1)) throw std::runtime_error("threshold is not in (0, 1)");
    golden.threshold = static_cast<float>(threshold);
    golden.mean_abs = share(record.at("tolerance").at("mean_abs"));
    golden.pixels = share(record.at("tolerance").at("pixels"));
}

Golden read(const Bytes& content, std::uint64_t side) {
    if (content.size() < kLengthBytes) throw std::runtime_error("it has no header");
    std::uint64_t length = 0;
    std::memcpy(&length, content.data(), kLengthBytes);
    if (length > kMaxHeaderBytes || length > content.size() - kLengthBytes) {
        throw std::runtime_error("its header reaches too far");
    }
    const auto header_size = static_cast<std::size_t>(length);
    const Json header =
        parse_json(reinterpret_cast<const char*>(content.data()) + kLengthBytes, header_size);
    const std::uint8_t* body = content.data() + kLengthBytes + header_size;
    const std::uint64_t body_size = content.size() - kLengthBytes - header_size;

    std::uint64_t count = 0;
    const Tensor frames = tensor_of(header, "frames", "U8", 1, side, count, body, body_size);
    const Tensor expected =
        tensor_of(header, "probability", "F32", sizeof(float), side, count, body, body_size);
    const Tensor mask = tensor_of(header, "mask", "U8", 1, side, count, body, body_size);
    const std::uint64_t sum =
        (frames.end - frames.begin) + (expected.end - expected.begin) + (mask.end - mask.begin);
    if (header.size() != 4 || sum != body_size) {
        throw std::runtime_error("it holds more than frames, probability and mask");
    }
    const auto pixels = static_cast<std::size_t>(side * side);
    Golden golden{};
    golden.frame.assign(frames.data, frames.data + pixels);
    golden.probability.resize(pixels);
    std::memcpy(golden.probability.data(), expected.data, pixels * sizeof(float));
    read_tolerance(header.at("__metadata__").at("edge_bts").get_ref<const std::string&>(), golden);
    return golden;
}

}  // namespace

Golden read_golden(const Bytes& content, int side) {
    try {
        return read(content, static_cast<std::uint64_t>(side));
    } catch (const std::bad_alloc&) {
        throw;
    } catch (const std::exception& error) {
        throw Failure(EBTS_ERROR_BUNDLE,
                      std::string("Expected ") + kGoldenName +
                          " to hold frames, probability and mask with their tolerance, but " +
                          error.what() + "; export the bundle again.");
    }
}

Difference compare(const Golden& golden, const Normaliser& normalise, Request& request) {
    const std::size_t count = golden.frame.size();
    normalise(golden.frame.data(), count, request.input());
    request.infer();
    const float* came = request.output();
    double sum = 0;
    std::size_t differ = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const float apart = std::abs(came[i] - golden.probability[i]);
        // What is no finite number differs by 1, as far as probability can be.
        sum += std::isfinite(apart) ? static_cast<double>(apart) : 1.0;
        const bool here = came[i] >= golden.threshold;
        const bool there = golden.probability[i] >= golden.threshold;
        differ += here == there ? 0 : 1;
    }
    const auto pixels = static_cast<double>(count);
    return {sum / pixels, static_cast<double>(differ) / pixels};
}

}  // namespace edge_bts
