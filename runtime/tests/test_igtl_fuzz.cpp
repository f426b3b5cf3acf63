// The fuzz target of the codec without a fuzzer: any compiler runs it over messages that were
// changed at random. It aborts where something does not hold; sanitizers see the rest.
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "codec.hpp"
#include "support.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using namespace edge_bts::igtl;
using Bytes = std::vector<std::uint8_t>;

/// A stream of every kind of message; its first byte is the length of the pieces.
Bytes stream() {
    Bytes out = {50};
    const Bytes pixels = support::bytes(24, 5);
    Image image;
    image.size = {4, 3, 1};
    image.scalar = Scalar::uint16;
    image.pixels = {pixels.data(), pixels.size()};
    for (std::uint16_t version = 1; version <= 2; ++version) {
        Envelope envelope;
        envelope.version = version;
        envelope.device = "Image_Image";
        append_image(out, envelope, image, {{"micronsPerPixel", "80"}, {"key", "value"}});
        append_transform(out, envelope, image.matrix);
        append_string(out, envelope, "text");
        append_status(out, envelope, {});
    }
    return out;
}

}  // namespace

TEST_CASE("the fuzz target holds for messages that were changed at random") {
    const Bytes whole = stream();
    support::Random random(7);
    LLVMFuzzerTestOneInput(whole.data(), 0);
    for (int run = 0; run < 30000; ++run) {
        Bytes input = whole;
        for (std::uint32_t i = 0; i <= random.next() >> 30; ++i) {
            const std::size_t at = (random.next() >> 8) % input.size();
            switch (random.next() >> 30) {
                case 0:
                    input[at] = random.byte();
                    break;
                case 1:
                    input[at] = static_cast<std::uint8_t>(input[at] ^ (1U << (random.byte() % 8)));
                    break;
                case 2:
                    input.resize(std::max<std::size_t>(at, 1));
                    break;
                default:
                    input.insert(input.begin() + long(at), random.byte());
            }
        }
        LLVMFuzzerTestOneInput(input.data(), input.size());
    }
}
