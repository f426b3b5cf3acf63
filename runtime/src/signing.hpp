// Who made a bundle: the twin of edge_bts/signing.py, where the layout of manifest.sig stands.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "files.hpp"

namespace edge_bts {

using PublicKey = std::array<std::uint8_t, 32>;

inline constexpr const char* kSignatureName = "manifest.sig";
inline constexpr std::size_t kSignatureBytes = 112;

struct Trust {
    std::vector<PublicKey> keys;
    bool allow_unsigned = false;  ///< Takes a missing signature, or one by an unknown key.
};

struct Verdict {
    std::string signer;  ///< Id of the key under which the signature verifies, or "".
    std::string doubt;   ///< Why nobody vouches for the bundle; empty where the key is trusted.
};

/// Reads NAME.pub, an Ed25519 key in PEM. Throws Failure ARGUMENT if it is none.
PublicKey load_public_key(const std::string& path);

/// Judges the bytes of a manifest before anybody reads a meaning into them; `signature` is what
/// stands in manifest.sig, nothing where there is none. Throws Failure INTEGRITY.
Verdict judge(const Bytes& manifest, const std::optional<Bytes>& signature, const Trust& trust,
              const std::string& where);

/// 64 hexadecimal digits.
std::string sha256(const Bytes& content);

}  // namespace edge_bts
