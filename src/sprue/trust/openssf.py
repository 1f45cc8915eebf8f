"""A signature for those who verify with OpenSSF model-signing: over every file of a bundle's folder.

It lies beside the bundle as <folder>.model.sig, in that project's format (a Sigstore bundle around an in-toto
statement), made and verified by its own library. That takes elliptic curve keys (P-256, P-384, P-521), not
ed25519, and says nothing of who built what: sprue's own signature does.

    openssl ecparam -name prime256v1 -genkey -noout -out ec.key; openssl ec -in ec.key -pubout -out ec.pub
    python -m model_signing verify key --signature F.model.sig --public_key ec.pub F
"""

from __future__ import annotations

from pathlib import Path

from sprue.bundle.check import check_bundle
from sprue.errors import CheckError, SprueError
from sprue.trust.plain import read_plain

SUFFIX = ".model.sig"
MAX_KEY_BYTES = 16 * 2**10


def sign_model(folder: Path, key: Path) -> Path:
    """Check the whole bundle, then sign it with the private key in the PEM file `key`.

    Raises CheckError for a damaged bundle or what is no such key, SprueError when a library is missing or
    nothing can be written.
    """
    try:
        from model_signing import hashing, signing
    except ImportError as error:  # it does not declare pyOpenSSL, which it imports
        missing = f"model-signing cannot be imported: {error}"
        raise SprueError(missing, remedy="pip install 'sprue[openssf]'") from error

    folder = folder.resolve()
    check_bundle(folder)
    try:
        read_plain(key, MAX_KEY_BYTES, follow_links=True, private=True)
    except OSError as error:
        raise SprueError(f"cannot read the key: {error.strerror}", where=str(key)) from error
    path = folder.with_name(folder.name + SUFFIX)
    # Left to itself the library would leave .git* out; a bundle is signed whole.
    every_file = hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(every_file)
    except (ValueError, TypeError, AttributeError):  # the last for ed25519; and its text may quote the key
        raise CheckError(
            "not an elliptic curve key, or one with a passphrase",
            where=str(key),
            remedy="openssl ecparam -name prime256v1 -genkey -noout -out ec.key",
        ) from None
    try:
        config.sign(folder, path)
    except OSError as error:
        raise SprueError(f"cannot write it: {error.strerror}", where=str(error.filename or path)) from error
    return path
