// Plain files of one folder, read without following links.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace edge_bts {

using Bytes = std::vector<std::uint8_t>;

/// What a folder holds under one name.
struct Entry {
    bool plain;          ///< A file; no link, pipe, device or folder.
    std::uint64_t size;  ///< In bytes.
};

/// An open folder: who renames or replaces it afterwards does not change what is read.
class Folder {
  public:
    /// Throws Failure BUNDLE if there is no folder at `path`.
    explicit Folder(const std::string& path);
    ~Folder();
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    const std::string& path() const noexcept { return path_; }

    /// Whether anything has this name, be it a link that leads nowhere.
    bool has(const std::string& name) const noexcept;

    /// Up to `most + 1` bytes of a plain file, or nothing if it cannot be had.
    std::optional<Bytes> read(const std::string& name, std::size_t most) const;

    /// All that is in it. Throws Failure BUNDLE if it cannot be read.
    std::map<std::string, Entry> list() const;

  private:
    std::string path_;
    int handle_;
};

/// Up to `most + 1` bytes of the file at `path`, links followed; nothing if it cannot be had.
std::optional<Bytes> read_file(const std::string& path, std::size_t most);

}  // namespace edge_bts
