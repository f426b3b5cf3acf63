// The parts of edge-bts-igtl around the codec: newest frame, spacing, clients at their own pace.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "frame.hpp"
#include "newest.hpp"
#include "options.hpp"
#include "server.hpp"
#include "socket.hpp"
#include "source.hpp"
#include "support.hpp"

namespace {

using namespace edge_bts::igtl;
using namespace std::chrono_literals;

void put_float(Matrix& matrix, std::size_t index, float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    for (std::size_t i = 0; i < 4; ++i) {
        matrix[4 * index + i] = static_cast<std::uint8_t>(bits >> (24 - 8 * i));
    }
}

/// Columns of these lengths, turned about an axis.
Matrix matrix_of(float across, float down) {
    Matrix matrix{};
    put_float(matrix, 0, 0.6F * across);
    put_float(matrix, 2, 0.8F * across);
    put_float(matrix, 4, -down);
    return matrix;
}

Image image_of(std::uint16_t width, std::uint16_t height, std::uint16_t depth = 1,
               std::uint8_t components = 1, Scalar scalar = Scalar::uint8) {
    Image image;
    image.size = {width, height, depth};
    image.components = components;
    image.scalar = scalar;
    return image;
}

std::string refusal(const Image& image) {
    try {
        library_frame(image, Options());
    } catch (const WireError& error) {
        return error.what();
    }
    return "";
}

/// What a blocking client of the test does.
class Peer {
  public:
    explicit Peer(const Address& address) : socket_(begin_connect(address)) {
        ::fcntl(socket_.get(), F_SETFL, ::fcntl(socket_.get(), F_GETFL) & ~O_NONBLOCK);
    }
    explicit Peer(Handle socket) : socket_(std::move(socket)) {
        ::fcntl(socket_.get(), F_SETFL, ::fcntl(socket_.get(), F_GETFL) & ~O_NONBLOCK);
    }

    void write(const Bytes& bytes) {
        std::size_t done = 0;
        while (done < bytes.size()) {
            const auto count = send_some(socket_, bytes.data() + done, bytes.size() - done);
            REQUIRE(count);
            done += *count;
        }
    }

    /// The next message: header and content text.
    std::pair<Header, std::string> read() {
        Assembler assembler(1 << 20, true);
        for (;;) {
            const auto [data, size] = assembler.room(buffer_);
            const auto count = receive_some(socket_, data, size);
            REQUIRE(count);
            if (*count > 0 && assembler.filled(*count)) break;
        }
        const Header header = assembler.header();
        const Body body =
            parse_body(header, {buffer_.data(), static_cast<std::size_t>(header.body_size)});
        return {header, std::string(parse_string(body.content))};
    }

    /// Whether the other side has closed.
    bool closed() {
        std::uint8_t byte = 0;
        return !receive_some(socket_, &byte, 1);
    }

    void close() { socket_.close(); }

  private:
    Handle socket_;
    Buffer buffer_{1 << 20};
};

/// One turn of the loop of a node.
void turn(Server& server, int wait_ms = 20) {
    std::vector<pollfd> polls;
    server.interest(polls, Clock::now());
    ::poll(polls.data(), polls.size(), wait_ms);
    server.ready(polls.data(), Clock::now());
}

/// Turns enough for what clients did to be noticed.
void turns(Server& server, int count = 5) {
    for (int i = 0; i < count; ++i) turn(server);
}

Server::Encode text(const std::string& what) {
    return [what](Bytes& out, std::uint16_t version) {
        Envelope envelope;
        envelope.version = version;
        append_string(out, envelope, what);
    };
}

Bytes hello(std::uint16_t version) {
    Bytes out;
    Envelope envelope;
    envelope.version = version;
    append_status(out, envelope, {});
    return out;
}

const Address kLoopback = resolve("--serve", "127.0.0.1:0").front();

}  // namespace

TEST_CASE("the newest wins, and what is replaced is told") {
    int made = 0;
    Newest<int> newest([&] { return made++; });
    CHECK(newest.take() == nullptr);
    newest.writing() = 10;
    CHECK(!newest.publish());
    newest.writing() = 11;
    CHECK(newest.publish());
    int* taken = newest.take();
    REQUIRE(taken != nullptr);
    CHECK(*taken == 11);
    CHECK(newest.take() == nullptr);
    newest.writing() = 12;
    CHECK(!newest.publish());
    newest.writing() = 13;
    CHECK(*taken == 11);  // the reader's own until it takes the next
    CHECK(*newest.take() == 12);
    CHECK(made == 3);
    newest.close();
    CHECK(newest.wait() == nullptr);
}

TEST_CASE("between two threads everything is read or told as replaced, in order") {
    struct Item {
        std::uint64_t number;
        std::vector<std::uint64_t> copies;
    };
    Newest<Item> newest([] { return Item{0, std::vector<std::uint64_t>(50)}; });
    constexpr std::uint64_t kItems = 100000;
    std::uint64_t replaced = 0;
    std::atomic<std::uint64_t> read{0};
    std::atomic<bool> good{true};
    std::thread reader([&] {
        std::uint64_t last = 0;
        while (Item* item = newest.wait()) {
            for (const auto copy : item->copies) good = good && copy == item->number;
            good = good && item->number > last;
            last = item->number;
            ++read;
        }
    });
    for (std::uint64_t i = 1; i <= kItems; ++i) {
        newest.writing().number = i;
        newest.writing().copies.assign(50, i);
        if (newest.publish()) ++replaced;
    }
    while (read + replaced < kItems) std::this_thread::yield();
    newest.close();
    reader.join();
    CHECK(good);
    CHECK(read + replaced == kItems);
}

TEST_CASE("spacing: metadata, then a matrix that says something, then the command line") {
    const auto mm = [](const Metadata& metadata, const Matrix& matrix, double option) {
        const Spacing spacing = spacing_of(metadata, matrix, option);
        return std::make_pair(spacing.mm, std::string(spacing.from));
    };
    const Metadata clarius = {{"x", "1"}, {"micronsPerPixel", "80"}};
    using Pair = std::pair<double, std::string>;
    CHECK(mm(clarius, matrix_of(0.1F, 0.1F), 0.2) == Pair(0.08, "metadata"));
    const auto matrix = mm({}, matrix_of(0.1F, 0.1F), 0.2);
    CHECK(matrix.first == doctest::Approx(0.1).epsilon(1e-6));
    CHECK(matrix.second == "matrix");
    CHECK(mm({}, matrix_of(1.0F, 1.0F), 0.2) == Pair(0.2, "option"));
    CHECK(mm({}, matrix_of(1.0F, 1.0F), 0.0) == Pair(0.0, "none"));
    CHECK(mm({}, matrix_of(0.1F, 0.2F), 0.0) == Pair(0.0, "none"));
    CHECK(mm({}, matrix_of(0.0F, 0.0F), 0.0) == Pair(0.0, "none"));
    CHECK(mm({}, matrix_of(NAN, NAN), 0.0) == Pair(0.0, "none"));
    CHECK(mm({}, matrix_of(INFINITY, INFINITY), 0.0) == Pair(0.0, "none"));
    for (const char* bad : {"", "0", "-80", "nan", "inf", "80 um", "1e9", "1e-9"}) {
        CHECK(mm({{"micronsPerPixel", bad}}, matrix_of(1.0F, 1.0F), 0.2) == Pair(0.2, "option"));
    }
}

TEST_CASE("pixels that the library takes, and the words for those that it does not") {
    CHECK(library_frame(image_of(64, 48), Options()).format == EBTS_GRAY8);
    CHECK(library_frame(image_of(64, 48, 1, 3), Options()).format == EBTS_RGB);
    CHECK(library_frame(image_of(64, 48, 1, 4), Options()).format == EBTS_RGBA);
    CHECK(library_frame(image_of(64, 48, 1, 1, Scalar::uint16), Options()).format == EBTS_GRAY16);
    CHECK(refusal(image_of(64, 48, 1, 2)).find("components") != std::string::npos);
    CHECK(refusal(image_of(64, 48, 1, 1, Scalar::float32)).find("scalar type 10") !=
          std::string::npos);
    CHECK(refusal(image_of(64, 48, 2)).find("one slice") != std::string::npos);
    CHECK(refusal(image_of(1, 640, 480)).find("(1, H, W)") != std::string::npos);
    CHECK(refusal(image_of(1921, 48)).find("--max-size") != std::string::npos);
    CHECK(refusal(image_of(64, 1201)).find("--max-size") != std::string::npos);
}

TEST_CASE("what a peer sends cannot steer a terminal") {
    CHECK(printable("Image_Image \x1B[2J\n\xFF") == "Image_Image ?[2J??");
}

TEST_CASE("the command line is obeyed or refused in a sentence") {
    const Options options = parse_options({"a.ebts", "--trust", "k.pub", "--send", "probability",
                                           "--max-size", "640x480", "--header", "2"});
    CHECK(options.bundle == "a.ebts");
    CHECK(options.name == "Prediction");
    CHECK(options.max_width == 640);
    CHECK(options.max_height == 480);
    CHECK(options.header == 2);
    CHECK(most_body(options) < 640 * 480 * 4 + 70000);
    CHECK(parse_options({"a.ebts"}).name == "Mask");
    using Arguments = std::vector<std::string>;
    for (const Arguments& bad : {Arguments{},
                                 {"a", "b"},
                                 {"a", "--what"},
                                 {"a", "--threads"},
                                 {"a", "--threads", "-1"},
                                 {"a", "--threads", "4294967297"},
                                 {"a", "--max-size", "640"},
                                 {"a", "--max-size", "1x1"},
                                 {"a", "--max-size", "640x99999"},
                                 {"a", "--mm-per-pixel", "0"},
                                 {"a", "--mm-per-pixel", "nan"},
                                 {"a", "--mm-per-pixel", "1mm"},
                                 {"a", "--send", "x"},
                                 {"a", "--header", "3"},
                                 {"a", "--name", "a name of more than twenty bytes"},
                                 {"a", "--max-clients", "0"}}) {
        CHECK_THROWS_AS(parse_options(bad), UsageError);
    }
    for (const char* bad : {"", "localhost", ":1", "127.0.0.1:", "127.0.0.1:http"}) {
        CHECK_THROWS_AS(resolve("--serve", bad), UsageError);
    }
    CHECK(resolve("--serve", "[::1]:5").front().text() == "[::1]:5");
    CHECK(resolve("--serve", "[::1]:5").front().loopback());
    CHECK(resolve("--serve", "127.9.9.9:5").front().loopback());
    CHECK(!resolve("--serve", "0.0.0.0:5").front().loopback());
}

TEST_CASE("a client gets version 1 until it has sent version 2") {
    Server server(kLoopback, 8, 1);
    Peer old(server.address()), modern(server.address());
    turns(server);
    server.send(text("a"));
    CHECK(old.read().first.version == 1);
    CHECK(modern.read().first.version == 1);
    modern.write(hello(2));
    old.write(hello(1));
    turns(server);
    server.send(text("b"));
    CHECK(old.read().first.version == 1);
    const auto [header, said] = modern.read();
    CHECK(header.version == 2);
    CHECK(said == "b");
}

TEST_CASE("with --header 2 everybody gets version 2") {
    Server server(kLoopback, 8, 2);
    Peer peer(server.address());
    turns(server);
    server.send(text("a"));
    CHECK(peer.read().first.version == 2);
}

TEST_CASE("a slow reader loses what is old, delays nobody and holds no more than two results") {
    Server server(kLoopback, 8, 1);
    Peer slow(server.address()), quick(server.address());
    turns(server);
    const std::string padding(60000, 'x');
    constexpr int kResults = 1000;  // 60 MB: more than any buffer of the kernel
    std::atomic<int> taken{0};
    std::thread eager([&] {
        for (int i = 0; i < kResults; ++i) {
            const std::string number = std::to_string(i);
            CHECK(quick.read().second.substr(0, number.size() + 1) == number + "x");
            ++taken;
        }
    });
    for (int i = 0; i < kResults; ++i) {
        server.send(text(std::to_string(i) + padding));
        while (taken <= i) turn(server, 1);
    }
    eager.join();
    std::vector<int> numbers;
    std::atomic<bool> done{false};
    std::thread reading([&] {
        while (numbers.empty() || numbers.back() != kResults - 1) {
            numbers.push_back(std::stoi(slow.read().second));
        }
        done = true;
    });
    while (!done) turn(server);
    reading.join();
    CHECK(numbers.size() < kResults / 2);
    for (std::size_t i = 1; i < numbers.size(); ++i) REQUIRE(numbers[i - 1] < numbers[i]);
    CHECK(numbers.front() == 0);  // what was under way comes whole; the last is the newest
}

TEST_CASE("more clients than allowed are sent away, and their place is free again") {
    Server server(kLoopback, 2, 1);
    Peer first(server.address()), second(server.address()), third(server.address());
    turns(server);
    CHECK(third.closed());
    first.close();
    turns(server);
    Peer fourth(server.address());
    turns(server);
    server.send(text("a"));
    CHECK(fourth.read().second == "a");
    CHECK(second.read().second == "a");
}

TEST_CASE("a client that talks nonsense is sent away, and one that talks much is not") {
    Server server(kLoopback, 8, 1);
    Peer nonsense(server.address()), much(server.address());
    turns(server);
    nonsense.write(Bytes(kHeaderSize, 0xAA));
    Bytes big;
    append_string(big, Envelope(), std::string(65000, 'x'));
    std::thread talking([&] {
        for (int i = 0; i < 50; ++i) much.write(big);
    });
    turns(server, 100);
    talking.join();
    CHECK(nonsense.closed());
    server.send(text("a"));
    CHECK(much.read().second == "a");
}

TEST_CASE("the addresses of a name are tried in turn") {
    const Handle listener = listen_at(kLoopback);
    const std::string port = bound(listener).text().substr(sizeof "127.0.0.1");
    Source source("localhost:" + port, 1000, false);  // may be ::1 first, where nobody listens
    auto now = Clock::now();
    for (int i = 0; i < 10 && !source.connected(); ++i) {
        source.tick(now += 3s);
        pollfd poll = source.interest();
        ::poll(&poll, 1, 20);
        source.ready(poll.revents, now);
    }
    CHECK(source.connected());
}

TEST_CASE("the source finds its server late, loses it and finds it again") {
    const Address address = bound(listen_at(kLoopback));  // free again at the end of the line
    Source source(address.text(), 1000, false);
    Buffer buffer(1000);
    const auto step = [&](Clock::time_point now) {
        source.tick(now);
        pollfd poll = source.interest();
        ::poll(&poll, 1, 20);
        source.ready(poll.revents, now);
        return source.read(buffer, now);
    };
    auto now = Clock::now();
    for (int i = 0; i < 3; ++i) step(now += 3s);
    CHECK(!source.connected());

    const Handle listener = listen_at(address);
    const auto find = [&] {
        for (int i = 0; i < 5 && !source.connected(); ++i) step(now += 3s);
        REQUIRE(source.connected());
        Address from;
        Handle server;
        while (!server) server = accept_from(listener, from);
        return Peer(std::move(server));
    };
    Bytes message;
    append_string(message, Envelope(), "hello");
    const Bytes half(message.begin(), message.begin() + 30);
    {
        Peer server = find();
        server.write(message);
        while (!step(now)) continue;
        CHECK(source.header().type == "STRING");
        server.write(half);
    }
    for (int i = 0; i < 5 && source.connected(); ++i) step(now);
    CHECK(!source.connected());  // died in the middle of a message
    {
        Peer server = find();
        server.write(message);  // the half one is forgotten
        while (!step(now)) continue;
        server.write(half);
        step(now);
        step(now += 6s);
        CHECK(!source.connected());  // fell silent in the middle of a message
    }
    {
        Peer server = find();
        Bytes huge = message;
        huge[42] = 1;
        server.write(huge);
        for (int i = 0; i < 5 && source.connected(); ++i) step(now);
        CHECK(!source.connected());  // announced more than the cap
    }
    Peer server = find();
    step(now += 60s);
    CHECK(source.connected());  // silence between messages is a frozen image
}
