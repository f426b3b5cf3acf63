#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

#include "edge_bts/edge_bts.h"
#include "fake_network.hpp"
#include "targets.hpp"

namespace {

/// A struct of the ABI, and memory behind it as far as any struct_size that is looked at.
union Room {
    std::array<std::uint8_t, 8192> bytes;
    ebts_model_options model;
    ebts_session_options session;
};

/// Takes `fields` bytes, and where there are more of them some of the memory behind.
void fill(Room& room, const std::uint8_t*& data, std::size_t& size, std::size_t fields) {
    room.bytes.fill(0);
    const std::size_t count = std::min(size, fields);
    std::copy_n(data, count, room.bytes.begin());
    data += count;
    size -= count;
}

/// Sizes that are taken but cost gigabytes become small ones; what is refused stays as it is.
void shrink(std::uint32_t& value, std::uint32_t taken, std::uint32_t most) {
    if (value <= taken) value %= most + 1;
}

}  // namespace

void fuzz::options(const std::uint8_t* data, std::size_t size) {
    static const support::FakeModel model = support::fake_model();
    static Room room;
    fill(room, data, size, sizeof(ebts_session_options) + 16);
    if (room.session.struct_size % 2 == 0) room.session.struct_size = sizeof room.session;
    shrink(room.session.max_width, 16384, 64);
    shrink(room.session.max_height, 16384, 64);
    shrink(room.session.max_components, 65536, 64);
    room.session.ready = nullptr;
    ebts_session* session = nullptr;
    const ebts_status made = ebts_session_create(model.get(), &room.session, &session);
    if ((made == EBTS_OK) != (session != nullptr) || made == EBTS_ERROR_INTERNAL) {
        throw std::logic_error(ebts_last_error());
    }
    ebts_session_destroy(session);

    fill(room, data, size, sizeof(ebts_model_options) + 16);
    static const std::array<std::uint8_t, 64> keys{};
    static const std::array<const char*, 2> files = {"/dev/null", nullptr};
    if (room.model.struct_size % 2 == 0) room.model.struct_size = sizeof room.model;
    if (room.model.keys != nullptr) {
        room.model.keys = keys.data();
        room.model.key_count %= 3;
    }
    if (room.model.key_files != nullptr) {
        room.model.key_files = files.data();
        room.model.key_file_count %= 3;
    }
    ebts_model_options& model_options = room.model;
    for (const char** text :
         {&model_options.backend, &model_options.cache_dir, &model_options.engine_folder}) {
        if (*text != nullptr) *text = "/nowhere";
    }
    room.model.log = nullptr;
    ebts_model* opened = nullptr;
    const ebts_status status = ebts_model_open("/nowhere", &room.model, &opened);
    if (status == EBTS_OK || status == EBTS_ERROR_INTERNAL) {
        throw std::logic_error(ebts_last_error());
    }
}
