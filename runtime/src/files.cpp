#include "files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "failure.hpp"

namespace edge_bts {
namespace {

class Handle {
  public:
    explicit Handle(int handle) : handle_(handle) {}
    ~Handle() {
        if (handle_ >= 0) ::close(handle_);
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;

    int get() const noexcept { return handle_; }

  private:
    int handle_;
};

Failure unreadable(const std::string& path) {
    return {EBTS_ERROR_BUNDLE, "Expected a bundle that can be read at " + path + ", but: " +
                                   std::strerror(errno) + "; make one with `edge-bts export`."};
}

std::optional<Bytes> read_plain(int handle, std::size_t most) {
    struct stat info{};
    if (handle < 0 || ::fstat(handle, &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
    // One byte more than is believed: a file that grows while it is read shows.
    const auto size = static_cast<std::uint64_t>(info.st_size);
    Bytes content(static_cast<std::size_t>(std::min<std::uint64_t>(size, most)) + 1);
    std::size_t used = 0;
    while (used < content.size()) {
        const ssize_t count = ::read(handle, content.data() + used, content.size() - used);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return std::nullopt;
        if (count == 0) break;
        used += static_cast<std::size_t>(count);
    }
    content.resize(used);
    return content;
}

}  // namespace

Folder::Folder(const std::string& path)
    : path_(path), handle_(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (handle_ < 0) throw unreadable(path);
}

Folder::~Folder() {
    ::close(handle_);
}

bool Folder::has(const std::string& name) const noexcept {
    struct stat info{};
    return ::fstatat(handle_, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0;
}

std::optional<Bytes> Folder::read(const std::string& name, std::size_t most) const {
    // A pipe is opened without waiting, and refused.
    const Handle file(
        ::openat(handle_, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    return read_plain(file.get(), most);
}

std::map<std::string, Entry> Folder::list() const {
    // A handle of its own: closedir() closes it, and its position is not that of another list().
    const int own = ::openat(handle_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(own < 0 ? nullptr : ::fdopendir(own),
                                                     ::closedir);
    if (!stream) {
        const Failure failure = unreadable(path_);
        if (own >= 0) ::close(own);
        throw failure;
    }
    std::map<std::string, Entry> found;
    errno = 0;
    while (const dirent* item = ::readdir(stream.get())) {
        const std::string name = item->d_name;
        if (name == "." || name == "..") continue;
        struct stat info{};
        if (::fstatat(handle_, item->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
            throw unreadable(path_);
        }
        found[name] = {S_ISREG(info.st_mode), static_cast<std::uint64_t>(info.st_size)};
        errno = 0;
    }
    if (errno != 0) throw unreadable(path_);
    return found;
}

std::optional<Bytes> read_file(const std::string& path, std::size_t most) {
    const Handle file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    return read_plain(file.get(), most);
}

}  // namespace edge_bts
