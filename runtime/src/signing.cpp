#include "signing.hpp"

#include <sodium.h>

#include <algorithm>
#include <cstring>

#include "failure.hpp"

namespace edge_bts {
namespace {

constexpr char kMagic[] = "edge-bts-sig-v1\n";
constexpr std::size_t kMagicBytes = sizeof kMagic - 1;
constexpr std::size_t kMaxPemBytes = 1 << 14;

// SubjectPublicKeyInfo of RFC 8410, section 4: all of it but the key is fixed.
constexpr std::array<std::uint8_t, 12> kDerStart = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
                                                    0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
constexpr char kPemStart[] = "-----BEGIN PUBLIC KEY-----";
constexpr char kPemEnd[] = "-----END PUBLIC KEY-----";

void start_sodium() {
    if (sodium_init() < 0) {
        throw Failure(EBTS_ERROR_INTERNAL, "Expected libsodium to start, but it did not.");
    }
}

std::optional<PublicKey> parse_pem(const Bytes& content) {
    const std::string text(content.begin(), content.end());
    const std::size_t start = text.find(kPemStart);
    const std::size_t end = text.find(kPemEnd);
    if (start == std::string::npos || end == std::string::npos || end < start) return std::nullopt;
    const std::size_t from = start + sizeof kPemStart - 1;
    std::array<std::uint8_t, kDerStart.size() + 32> der{};
    std::size_t size = 0;
    const char* stop = nullptr;
    if (sodium_base642bin(der.data(), der.size(), text.data() + from, end - from, "\r\n\t ", &size,
                          &stop, sodium_base64_VARIANT_ORIGINAL) != 0 ||
        stop != text.data() + end || size != der.size() ||
        !std::equal(kDerStart.begin(), kDerStart.end(), der.begin())) {
        return std::nullopt;
    }
    PublicKey key{};
    std::copy(der.begin() + kDerStart.size(), der.end(), key.begin());
    return key;
}

std::string key_id(const PublicKey& key) {
    return sha256(Bytes(key.begin(), key.end())).substr(0, 16);
}

PublicKey verified(const Bytes& manifest, const Bytes& signature, const std::string& where) {
    if (signature.size() != kSignatureBytes ||
        std::memcmp(signature.data(), kMagic, kMagicBytes) != 0) {
        throw Failure(EBTS_ERROR_INTEGRITY,
                      "Expected " + std::string(kSignatureName) + " in " + where +
                          " to be a signature of " + std::to_string(kSignatureBytes) +
                          " bytes, but it is damaged; copy the bundle again from its source.");
    }
    PublicKey key{};
    const std::uint8_t* at = signature.data() + kMagicBytes;
    std::copy_n(at, key.size(), key.begin());
    if (crypto_sign_verify_detached(at + key.size(), manifest.data(), manifest.size(),
                                    key.data()) != 0) {
        throw Failure(EBTS_ERROR_INTEGRITY,
                      "Expected the signature of " + where +
                          " to be that of its manifest, but it is not: one of them was changed; "
                          "copy the bundle again from its source.");
    }
    return key;
}

}  // namespace

PublicKey load_public_key(const std::string& path) {
    const std::optional<Bytes> content = read_file(path, kMaxPemBytes);
    const std::optional<PublicKey> key =
        content && content->size() <= kMaxPemBytes ? parse_pem(*content) : std::nullopt;
    if (!key) {
        throw Failure(EBTS_ERROR_ARGUMENT,
                      "Expected " + path +
                          " to be an Ed25519 public key in PEM, but it is not; give the NAME.pub "
                          "that `edge-bts key new` made.");
    }
    return *key;
}

Verdict judge(const Bytes& manifest, const std::optional<Bytes>& signature, const Trust& trust,
              const std::string& where) {
    start_sodium();
    Verdict verdict;
    std::string doubt = "has no signature";
    if (signature) {
        const PublicKey key = verified(manifest, *signature, where);
        verdict.signer = key_id(key);
        if (std::find(trust.keys.begin(), trust.keys.end(), key) != trust.keys.end()) {
            return verdict;
        }
        doubt = "is signed by the key " + verdict.signer + ", which is not a trusted one";
    }
    if (!trust.allow_unsigned) {
        throw Failure(EBTS_ERROR_INTEGRITY,
                      "Expected a bundle signed by a trusted key, but " + where + " " + doubt +
                          "; add its maker's key to the options, or set allow_unsigned if you "
                          "know where it is from.");
    }
    verdict.doubt = where + " " + doubt + ": anybody may have made it";
    return verdict;
}

std::string sha256(const Bytes& content) {
    start_sodium();
    std::array<unsigned char, crypto_hash_sha256_BYTES> digest{};
    crypto_hash_sha256(digest.data(), content.data(), content.size());
    std::array<char, 2 * crypto_hash_sha256_BYTES + 1> text{};
    sodium_bin2hex(text.data(), text.size(), digest.data(), digest.size());
    return text.data();
}

}  // namespace edge_bts
