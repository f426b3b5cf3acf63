"""Who made a bundle: Ed25519 signatures (RFC 8032) over ``manifest.json``, and whom to believe.

``manifest.sig`` has 112 bytes, always; there is nothing in it to parse:

=======  =====  =========================================================
offset   bytes  content
=======  =====  =========================================================
0        16     ASCII ``edge-bts-sig-v1`` and a line feed
16       32     public key of the signer (RFC 8032, section 5.1.5)
48       64     Ed25519 signature (section 5.1.6) of the bytes of ``manifest.json``, as they are
=======  =====  =========================================================

The key in the file says who claims to have signed, so that a refusal can name the key; it proves
nothing. A reader believes a signature that verifies under a key that came to it another way.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_bts.errors import EnvironmentMismatchError, InputError, IntegrityError
from edge_bts.files import sha256_bytes, write_secret, write_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ed25519

__all__ = [
    "SIGNATURE_BYTES",
    "SIGNATURE_NAME",
    "TRUSTED_KEYS_VARIABLE",
    "SigningKey",
    "Trust",
    "Verdict",
    "find_trust",
    "key_id",
    "load_either_key",
    "load_public_key",
    "load_signing_key",
    "new_key",
    "trusted_folder",
]

SIGNATURE_NAME = "manifest.sig"
SIGNATURE_BYTES = 112
TRUSTED_KEYS_VARIABLE = "EDGE_BTS_TRUSTED_KEYS"

_MAGIC = b"edge-bts-sig-v1\n"
_KEY_END = len(_MAGIC) + 32
_MAX_PEM_BYTES = 1 << 14
"""A PEM of Ed25519 has about 120 bytes; more than this is another file, given by mistake."""


@dataclass(frozen=True)
class Verdict:
    """What is known of a bundle's maker.

    Attributes:
        signer: Id of the key under which the signature verifies; empty without a signature.
        doubt: Empty where that key is trusted, else why nobody vouches for the bundle.
    """

    signer: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class Trust:
    """Whose bundles are opened.

    Attributes:
        keys: Raw public keys (32 bytes) in hexadecimal.
        allow_unsigned: Accept a bundle without a signature, or one by an unknown key. A signature
            that is wrong is refused all the same.
    """

    keys: tuple[str, ...] = ()
    allow_unsigned: bool = False

    def check(self, content: bytes, signature: bytes | None, where: Path) -> Verdict:
        """Judge the bytes of a manifest before anybody reads a meaning into them.

        Args:
            content: The bytes of ``manifest.json``.
            signature: Those of ``manifest.sig``; None where there is no such file.
            where: The bundle, named in errors.

        Raises:
            IntegrityError: The signature is damaged or wrong; or, without ``allow_unsigned``,
                missing or by a key that is not among ``keys``.
        """
        signer = ""
        if signature is None:
            doubt, do = "has no signature", "pass --allow-unsigned if you know where it is from"
        else:
            public = _verified(content, signature, where)
            signer = key_id(public)
            if public.hex() in self.keys:
                return Verdict(signer)
            doubt = f"is signed by the key {signer}, which is not a trusted one"
            do = "pass --trust FILE.pub if you know whose it is, or --allow-unsigned"
        if not self.allow_unsigned:
            known = ", ".join(key_id(bytes.fromhex(key)) for key in self.keys) or "none"
            raise IntegrityError(
                f"Expected a bundle signed by a trusted key (known here: {known}), but {where} "
                f"{doubt}; {do}."
            )
        return Verdict(signer, f"{where.name} {doubt}: anybody may have made it")


@dataclass(frozen=True)
class SigningKey:
    """A private key.

    Attributes:
        public: The raw public key that belongs to it, in hexadecimal.
    """

    public: str
    _private: ed25519.Ed25519PrivateKey = field(repr=False)

    @property
    def id(self) -> str:
        """Its short name; see :func:`key_id`."""
        return key_id(bytes.fromhex(self.public))

    def sign(self, content: bytes) -> bytes:
        """Return the bytes of ``manifest.sig`` for the bytes of a manifest."""
        return _MAGIC + bytes.fromhex(self.public) + self._private.sign(content)


def key_id(public: bytes) -> str:
    """Return the short name of a raw public key: 16 hexadecimal digits of its SHA-256."""
    return sha256_bytes(public)[:16]


def new_key(name: str | Path, *, force: bool = False) -> tuple[Path, Path]:
    """Make a key pair: ``NAME.key`` (PKCS #8 in PEM, mode 0600) and ``NAME.pub`` (PEM).

    Raises:
        InputError: One of them exists and ``force`` is false.
        EdgeBtsError: The system refused to write.
    """
    ed25519, serialization = _library()
    name = Path(name)
    private, public = (name.with_name(f"{name.name}{end}") for end in (".key", ".pub"))
    if public.exists() and not force:
        raise InputError(
            f"Expected {public} not to exist, but it does; choose another name or pass --force."
        )
    made = ed25519.Ed25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    secret = made.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    shown = made.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_secret(private, secret, force=force)
    write_text(public, shown.decode())
    return private, public


def load_signing_key(path: str | Path) -> SigningKey:
    """Read ``NAME.key``.

    Raises:
        InputError: No file, or no Ed25519 private key in PEM, or one with a passphrase.
    """
    if (key := _private(path)) is None:
        raise _no_key(path, "an Ed25519 private key", "NAME.key")
    return key


def load_public_key(path: str | Path) -> bytes:
    """Read ``NAME.pub``; return the raw key, 32 bytes.

    Raises:
        InputError: No file, or no Ed25519 public key in PEM.
    """
    if (key := _public(path)) is None:
        raise _no_key(path, "an Ed25519 public key", "NAME.pub")
    return key


def load_either_key(path: str | Path) -> bytes:
    """Return the raw public key of ``NAME.pub`` or of ``NAME.key``, 32 bytes.

    Raises:
        InputError: It is neither.
    """
    if (public := _public(path)) is not None:
        return public
    if (private := _private(path)) is not None:
        return bytes.fromhex(private.public)
    raise _no_key(path, "an Ed25519 key, public or private", "NAME.pub")


def find_trust(
    files: str | Path | Iterable[str | Path] = (), *, allow_unsigned: bool = False
) -> Trust:
    """Gather the keys that are believed here.

    They are those in ``files``, in the environment variable ``EDGE_BTS_TRUSTED_KEYS`` (paths,
    separated as in ``PATH``) and in the folder :func:`trusted_folder`. A path is a public key or
    a folder of them (``*.pub``).

    Raises:
        InputError: A path that is named and not there, or a file that is no public key.
    """
    given = [files] if isinstance(files, (str, Path)) else list(files)
    given += [part for part in os.environ.get(TRUSTED_KEYS_VARIABLE, "").split(os.pathsep) if part]
    if (own := trusted_folder()) is not None and own.is_dir():
        given.append(own)
    keys = {load_public_key(file).hex() for path in given for file in _public_files(Path(path))}
    return Trust(tuple(sorted(keys)), allow_unsigned)


def trusted_folder() -> Path | None:
    """Return the user's folder of trusted keys, ``$XDG_CONFIG_HOME/edge-bts/trusted``.

    Without that variable (or with a relative path in it, which XDG rules out) ``~/.config``; None
    for a user without a home.
    """
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".config"
        except RuntimeError:
            return None
    return base / "edge-bts" / "trusted"


def _public_files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(path.glob("*.pub"))
    else:
        yield path


def _private(path: str | Path) -> SigningKey | None:
    ed25519, serialization = _library()
    key = _parse(path, lambda pem: serialization.load_pem_private_key(pem, None))
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    return SigningKey(key.public_key().public_bytes_raw().hex(), key)


def _public(path: str | Path) -> bytes | None:
    ed25519, serialization = _library()
    key = _parse(path, serialization.load_pem_public_key)
    return key.public_bytes_raw() if isinstance(key, ed25519.Ed25519PublicKey) else None


def _parse(path: str | Path, load: Any) -> Any:
    """Return what ``load`` makes of a small file, None where it is no key."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        with Path(path).open("rb") as stream:
            content = stream.read(_MAX_PEM_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"Expected a key at {path}, but reading it failed: {error.strerror}; make one with "
            "`edge-bts key new`."
        ) from None
    if len(content) > _MAX_PEM_BYTES:
        return None
    try:
        return load(content)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a passphrase
        return None


def _no_key(path: str | Path, what: str, name: str) -> InputError:
    return InputError(
        f"Expected {path} to be {what} in PEM, without passphrase, but it is not; give the {name} "
        "that `edge-bts key new` made."
    )


def _verified(content: bytes, signature: bytes, where: Path) -> bytes:
    """Return the raw public key under which ``signature`` verifies."""
    public, sealed = signature[len(_MAGIC) : _KEY_END], signature[_KEY_END:]
    if len(signature) != SIGNATURE_BYTES or not signature.startswith(_MAGIC):
        raise IntegrityError(
            f"Expected {SIGNATURE_NAME} in {where} to be a signature of {SIGNATURE_BYTES} bytes, "
            "but it is damaged; copy the bundle again from its source."
        )
    ed25519, _ = _library()
    from cryptography.exceptions import InvalidSignature

    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(sealed, content)
    except (InvalidSignature, ValueError):
        raise IntegrityError(
            f"Expected the signature of {where} to be that of its manifest, but it is not: one of "
            "them was changed; copy the bundle again from its source."
        ) from None
    return public


def _library() -> tuple[Any, Any]:
    """Return the modules of ``cryptography`` for Ed25519 and for key files."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise EnvironmentMismatchError(
            f"Expected the package cryptography, but importing it failed ({error}); install it "
            "with `pip install cryptography`."
        ) from None
    return ed25519, serialization
