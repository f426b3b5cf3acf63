"""Signatures: whose bundles are opened, and that nothing is read before that is known."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from edge_bts import bundle as bundles
from edge_bts.bundle import Bundle, open_bundle_folder, sign_bundle, write_bundle
from edge_bts.errors import EdgeBtsError, EnvironmentMismatchError, InputError, IntegrityError
from edge_bts.signing import (
    SIGNATURE_BYTES,
    SigningKey,
    Trust,
    find_trust,
    key_id,
    load_either_key,
    load_public_key,
    load_signing_key,
    new_key,
)

pytest.importorskip("cryptography")

FIELDS: dict[str, Any] = {
    "name": "nano",
    "geometry": {"imgsz": 64},
    "normalisation": {"mean": 0.25, "std": 0.2},
    "threshold": 0.4,
    "precision": "int8",
    "models": {"onnxruntime": "model.onnx"},
}
FILES: dict[str, bytes | Path] = {"model.onnx": b"graph", "LICENSE": b"text"}

# RFC 8032, section 7.1, TEST 3: secret key, public key, message, signature.
RFC_SECRET = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
RFC_PUBLIC = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
RFC_MESSAGE = bytes.fromhex("af82")
RFC_SIGNATURE = bytes.fromhex(
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Private and public key file."""
    return new_key(tmp_path_factory.mktemp("keys") / "maker")


@pytest.fixture(scope="module")
def key(pair: tuple[Path, Path]) -> SigningKey:
    """The private key."""
    return load_signing_key(pair[0])


@pytest.fixture(scope="module")
def trust(key: SigningKey) -> Trust:
    """Whoever knows the maker."""
    return Trust((key.public,))


@pytest.fixture
def signed(tmp_path: Path, key: SigningKey) -> Path:
    """A small signed bundle."""
    return write_bundle(tmp_path / "nano.ebts", FIELDS, FILES, key=key).path


@pytest.fixture(autouse=True)
def nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep keys of whoever runs the tests out of them."""
    monkeypatch.delenv("EDGE_BTS_TRUSTED_KEYS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def small(signed: Path, key: SigningKey) -> Path:
    """The same with the shortest manifest, for tests that damage every byte of it."""
    path = signed / "manifest.json"
    record = {
        "schema_version": 1,
        **FIELDS,
        "files": json.loads(path.read_text())["files"],
    }
    content = json.dumps(record, separators=(",", ":")).encode()
    path.write_bytes(content)
    (signed / "manifest.sig").write_bytes(key.sign(content))
    return signed


def resign(bundle: Path, key: SigningKey, **changes: Any) -> None:
    """Change fields of the manifest and sign it again, as its maker could."""
    path = bundle / "manifest.json"
    content = json.dumps({**json.loads(path.read_text()), **changes}).encode()
    path.write_bytes(content)
    (bundle / "manifest.sig").write_bytes(key.sign(content))


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file in place."""
    with path.open("r+b", buffering=0) as stream:
        stream.seek(bit // 8)
        byte = stream.read(1)[0] ^ 1 << bit % 8
        stream.seek(bit // 8)
        stream.write(bytes([byte]))


def edwards_verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    """RFC 8032, section 5.1.7, in plain integers: independent of the library."""
    p, order = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
    d = -121665 * pow(121666, -1, p) % p

    def point(encoded: bytes) -> tuple[int, int]:
        y = int.from_bytes(encoded, "little")
        sign, y = y >> 255, y & (1 << 255) - 1
        square = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
        x = pow(square, (p + 3) // 8, p)
        if (x * x - square) % p:
            x = x * pow(2, (p - 1) // 4, p) % p
        assert (x * x - square) % p == 0
        return (p - x if x & 1 != sign else x), y

    def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
        (x1, y1), (x2, y2) = a, b
        t = d * x1 * x2 * y1 * y2
        x = (x1 * y2 + x2 * y1) * pow(1 + t, -1, p)
        y = (y1 * y2 + x1 * x2) * pow(1 - t, -1, p)
        return x % p, y % p

    def times(factor: int, a: tuple[int, int]) -> tuple[int, int]:
        total = (0, 1)
        while factor:
            total = add(total, a) if factor & 1 else total
            a, factor = add(a, a), factor >> 1
        return total

    y = 4 * pow(5, -1, p) % p
    base = point(y.to_bytes(32, "little"))
    assert base[0] % 2 == 0
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    digest = hashlib.sha512(r + public + message).digest()
    k = int.from_bytes(digest, "little") % order
    return times(s, base) == add(point(r), times(k, point(public)))


def test_signature_is_that_of_the_standard() -> None:
    """The file is magic, public key and signature as RFC 8032 has them in its test vector."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(RFC_SECRET)
    content = SigningKey(RFC_PUBLIC.hex(), private).sign(RFC_MESSAGE)
    assert content == b"edge-bts-sig-v1\n" + RFC_PUBLIC + RFC_SIGNATURE
    assert len(content) == SIGNATURE_BYTES == 112
    maker = Trust((RFC_PUBLIC.hex(),)).check(RFC_MESSAGE, content, Path("x.ebts"))
    assert (maker.signer, maker.doubt) == (hashlib.sha256(RFC_PUBLIC).hexdigest()[:16], "")


def test_another_implementation_accepts_the_file(signed: Path, key: SigningKey) -> None:
    """A reader in plain integers that knows only the layout verifies manifest and signature."""
    assert edwards_verifies(RFC_PUBLIC, RFC_MESSAGE, RFC_SIGNATURE)
    raw, content = (signed / "manifest.sig").read_bytes(), (signed / "manifest.json").read_bytes()
    assert raw[16:48].hex() == key.public
    assert edwards_verifies(raw[16:48], content, raw[48:])
    assert not edwards_verifies(raw[16:48], content + b" ", raw[48:])


def test_a_signed_bundle_opens_for_who_knows_the_key(signed: Path, trust: Trust) -> None:
    """Its files are read, and nothing is in doubt."""
    opened = open_bundle_folder(signed, trust)
    opened.verify()
    assert opened.maker.signer == key_id(bytes.fromhex(trust.keys[0]))
    assert opened.maker.doubt == ""


def test_every_truncation_of_every_file_is_refused(small: Path, trust: Trust) -> None:
    """Any prefix of any file, the empty one too: exit code 7, whatever is allowed."""
    lenient = Trust(trust.keys, allow_unsigned=True)
    tried = 0
    for path in sorted(small.iterdir()):
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(IntegrityError):
                open_bundle_folder(small, lenient)
            tried += 1
        path.write_bytes(whole)
    assert tried == sum(path.stat().st_size for path in small.iterdir())
    open_bundle_folder(small, trust).verify()


def test_every_flipped_bit_is_refused_before_it_is_parsed(
    small: Path, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wrong bit of manifest or signature: exit code 7, and no parser sees the manifest."""

    def never(*_: Any) -> None:
        raise AssertionError("the parser was reached")

    monkeypatch.setattr(bundles, "parse_manifest", never)
    lenient = Trust(trust.keys, allow_unsigned=True)
    for path in (small / "manifest.json", small / "manifest.sig"):
        for bit in range(8 * path.stat().st_size):
            flip(path, bit)
            with pytest.raises(IntegrityError) as caught:
                open_bundle_folder(small, lenient)
            assert caught.value.exit_code == 7
            flip(path, bit)
    with pytest.raises(AssertionError):
        open_bundle_folder(small, trust)


def test_a_flipped_bit_of_any_other_file_is_refused_when_read(signed: Path, trust: Trust) -> None:
    """Sizes are checked when the folder is opened, content when it is used."""
    for name in FILES:
        for bit in range(8 * (signed / name).stat().st_size):
            flip(signed / name, bit)
            with pytest.raises(IntegrityError, match=re.escape(name)):
                open_bundle_folder(signed, trust).read(name)
            flip(signed / name, bit)


def test_unsigned_takes_a_word(tmp_path: Path, trust: Trust) -> None:
    """Without a signature: refused; with allow_unsigned opened, and the doubt is said."""
    path = write_bundle(tmp_path / "nano.ebts", FIELDS, FILES).path
    with pytest.raises(IntegrityError, match=r"has no signature.*--allow-unsigned"):
        open_bundle_folder(path, trust)
    opened = open_bundle_folder(path, Trust(allow_unsigned=True))
    assert "has no signature" in opened.maker.doubt
    (path / "manifest.json").write_bytes(b"{")
    with pytest.raises(IntegrityError):
        open_bundle_folder(path, trust)
    with pytest.raises(InputError):
        open_bundle_folder(path, Trust(allow_unsigned=True))


def test_an_unknown_key_takes_a_word(signed: Path, key: SigningKey) -> None:
    """A good signature by a stranger is as good as none, and the stranger is named."""
    stranger = Trust((RFC_PUBLIC.hex(),))
    with pytest.raises(IntegrityError, match=f"by the key {key.id}.*--trust"):
        open_bundle_folder(signed, stranger)
    opened = open_bundle_folder(signed, Trust(stranger.keys, allow_unsigned=True))
    assert key.id in opened.maker.doubt
    assert opened.maker.signer == key.id


def test_a_key_of_another_is_no_signature_of_his(signed: Path, key: SigningKey) -> None:
    """Putting a trusted key's name over another's signature is found."""
    content = (signed / "manifest.sig").read_bytes()
    (signed / "manifest.sig").write_bytes(content[:16] + RFC_PUBLIC + content[48:])
    with pytest.raises(IntegrityError, match="changed"):
        open_bundle_folder(signed, Trust((RFC_PUBLIC.hex(), key.public), allow_unsigned=True))


def test_a_signature_that_is_no_plain_file_is_refused(signed: Path, trust: Trust) -> None:
    """A link to the right bytes, a folder and a pipe are damage."""
    path = signed / "manifest.sig"
    path.rename(signed.parent / "manifest.sig")
    path.symlink_to(signed.parent / "manifest.sig")
    lenient = Trust(trust.keys, allow_unsigned=True)
    with pytest.raises(IntegrityError, match="damaged"):
        open_bundle_folder(signed, lenient)
    path.unlink()
    path.symlink_to(signed.parent / "nowhere")
    with pytest.raises(IntegrityError, match="damaged"):
        open_bundle_folder(signed, lenient)
    path.unlink()
    path.mkdir()
    with pytest.raises(IntegrityError, match="damaged"):
        open_bundle_folder(signed, lenient)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(IntegrityError, match="damaged"):
        open_bundle_folder(signed, lenient)


def test_a_manifest_that_is_gone_from_a_signed_bundle_is_damage(signed: Path, trust: Trust) -> None:
    """Missing, linked or grown past its cap: exit code 7, not "no bundle"."""
    path = signed / "manifest.json"
    content = path.read_bytes()
    path.write_bytes(content + b" " * bundles.MAX_MANIFEST_BYTES)
    with pytest.raises(IntegrityError, match="at most"):
        open_bundle_folder(signed, trust)
    (signed.parent / "manifest.json").write_bytes(content)
    path.unlink()
    with pytest.raises(IntegrityError):
        open_bundle_folder(signed, trust)
    path.symlink_to(signed.parent / "manifest.json")
    with pytest.raises(IntegrityError):
        open_bundle_folder(signed, trust)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"files": {"model.onnx": {"size": 1 << 40, "sha256": "0" * 64}}}, InputError),
        ({"required_features": ["video"]}, EnvironmentMismatchError),
        ({"files": {"../model.onnx": {"size": 5, "sha256": "0" * 64}}}, InputError),
    ],
)
def test_a_signature_does_not_make_a_manifest_good(
    signed: Path, key: SigningKey, trust: Trust, changes: dict[str, Any], error: type[EdgeBtsError]
) -> None:
    """Huge sizes, unknown features and paths are refused whoever signed them."""
    resign(signed, key, **changes)
    with pytest.raises(error):
        open_bundle_folder(signed, trust)


def test_a_huge_file_is_not_read(signed: Path, key: SigningKey, trust: Trust) -> None:
    """A size within the caps that the file does not have ends before anything is read."""
    files = json.loads((signed / "manifest.json").read_text())["files"]
    files["model.onnx"]["size"] = 512 << 20
    resign(signed, key, files=files)
    with pytest.raises(IntegrityError, match="has 5 bytes and not 536870912"):
        open_bundle_folder(signed, trust)


def test_signing_a_bundle_that_stands(tmp_path: Path, key: SigningKey, trust: Trust) -> None:
    """Signing changes no other file; a signature is replaced only by request."""
    path = write_bundle(tmp_path / "nano.ebts", FIELDS, FILES).path
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    assert sign_bundle(path, key).maker.signer == key.id
    assert open_bundle_folder(path, trust).maker.doubt == ""
    with pytest.raises(InputError, match="--force"):
        sign_bundle(path, key)
    other = load_signing_key(new_key(tmp_path / "other")[0])
    sign_bundle(path, other, force=True)
    assert open_bundle_folder(path, Trust((other.public,))).maker.signer == other.id
    after = {file.name: file.read_bytes() for file in path.iterdir()}
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"manifest.sig"}


def test_what_is_damaged_is_not_signed(tmp_path: Path, key: SigningKey) -> None:
    """One wrong byte, or a file that is not listed: no signature, also no new one."""
    path = write_bundle(tmp_path / "nano.ebts", FIELDS, FILES, key=key).path
    old = (path / "manifest.sig").read_bytes()
    (path / "LICENSE").write_bytes(b"texT")
    with pytest.raises(IntegrityError, match="LICENSE"):
        sign_bundle(path, key, force=True)
    (path / "LICENSE").write_bytes(b"text")
    (path / "extra").write_bytes(b"")
    with pytest.raises(IntegrityError, match="extra"):
        sign_bundle(path, key, force=True)
    assert (path / "manifest.sig").read_bytes() == old
    with pytest.raises(InputError, match="edge-bts export"):
        sign_bundle(tmp_path, key)


def test_keys_are_written_for_their_owner_alone_and_never_over_another(tmp_path: Path) -> None:
    """Mode 0600 whatever the umask; an existing file of either name stays without force."""
    mask = os.umask(0)
    try:
        private, public = new_key(tmp_path / "deep" / "maker")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert load_either_key(private) == load_either_key(public) == load_public_key(public)
    assert private.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(InputError, match="--force"):
        new_key(tmp_path / "deep" / "maker")
    public.unlink()
    with pytest.raises(InputError, match="--force"):
        new_key(tmp_path / "deep" / "maker")
    assert not public.exists()
    assert private.read_bytes() == before[0]
    new_key(tmp_path / "deep" / "maker", force=True)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert private.read_bytes() != before[0]


def test_what_is_no_key_is_said(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    """Another file, the wrong half, another algorithm, a passphrase: one sentence each."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    private, public = pair
    (tmp_path / "noise").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "empty").write_bytes(b"")
    locked = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "locked.key").write_bytes(locked)
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    other = curve.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "other.pub").write_bytes(other)
    for path in (*(tmp_path / name for name in ("noise", "empty", "locked.key")), public):
        with pytest.raises(InputError, match="private key"):
            load_signing_key(path)
    for path in (*(tmp_path / name for name in ("noise", "empty", "other.pub")), private):
        with pytest.raises(InputError, match="public key"):
            load_public_key(path)
    for load in (load_signing_key, load_public_key):
        with pytest.raises(InputError, match="No such file"):
            load(tmp_path / "none")


def test_trusted_keys_come_from_three_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments, the environment variable and the user's folder; files or folders of *.pub."""
    publics = {name: new_key(tmp_path / name)[1] for name in "abcd"}
    raw = {name: load_public_key(path).hex() for name, path in publics.items()}
    assert find_trust() == Trust()
    assert find_trust(publics["a"]) == find_trust([str(publics["a"])]) == Trust((raw["a"],))
    folder = tmp_path / "friends"
    folder.mkdir()
    shutil.copy(publics["b"], folder)
    (folder / "notes.txt").write_text("no key")
    monkeypatch.setenv("EDGE_BTS_TRUSTED_KEYS", os.pathsep.join([str(folder), str(publics["c"])]))
    own = tmp_path / "config" / "edge-bts" / "trusted"
    own.mkdir(parents=True)
    shutil.copy(publics["d"], own)
    shutil.copy(publics["d"], own / "twice.pub")
    assert set(find_trust(publics["a"]).keys) == set(raw.values())
    assert len(find_trust(publics["a"]).keys) == 4
    (own / "d.pub").unlink()
    (own / "twice.pub").unlink()  # revoked
    assert raw["d"] not in find_trust().keys
    monkeypatch.setenv("EDGE_BTS_TRUSTED_KEYS", str(tmp_path / "none.pub"))
    with pytest.raises(InputError, match=r"none\.pub"):
        find_trust()


def test_a_relative_configuration_folder_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever owns the current folder does not choose whom we trust."""
    from edge_bts.signing import trusted_folder

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", "config")
    assert trusted_folder() == tmp_path / "home" / ".config" / "edge-bts" / "trusted"


def test_what_was_hashed_is_what_is_used(signed: Path, trust: Trust) -> None:
    """A file that is exchanged after it was read changes nothing; before it, it is refused."""
    opened: Bundle = open_bundle_folder(signed, trust)
    content = opened.read("model.onnx")
    (signed / "model.onnx").write_bytes(b"other")
    assert content == b"graph"
    with pytest.raises(IntegrityError):
        opened.read("model.onnx")
