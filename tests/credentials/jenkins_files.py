"""A JENKINS_HOME as Jenkins writes it (PROTOCOLS G.2, G.3), and the vectors of section G.

Owns: the encryption, by means of its own (``cryptography``), so that one misunderstanding does not
hide on both sides: the vectors were computed by Java.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

MASTER_KEY: Final = bytes(range(0x80)).hex()
AES_KEY: Final = bytes.fromhex("141568f3b179a02abbc0e2786456d525")
NODE_KEY: Final = bytes(range(0x40, 0x60))
NODE_KEY_FILE: Final = bytes.fromhex(
    "61688967079971557c57bd8c5314976615304ca3bdb324dbcc51fdf64f54c938"
    "d7f51f5134a42895e99ba7b3b5821eaf"
)
SECRETS: Final = {
    "my-agent": "51626da980204ef01f39346a848575bda49ce8c4173d245f1da61ccab5a5f2b1",
    "agent ü": "be8d063a119fdee4605ee03b0e7bd5fe7fe8f39165e6a7427dea49894c42e5f9",
}
MAGIC: Final = b"::::MAGIC::::"


def encrypt(plain: bytes, key: bytes) -> bytes:
    """Return what Java's ``Cipher("AES")`` makes of it: ECB, PKCS#5 padding."""
    padding = 16 - len(plain) % 16
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return encryptor.update(plain + bytes([padding]) * padding) + encryptor.finalize()


def aes_key(master: str = MASTER_KEY) -> bytes:
    return hashlib.sha256(master.encode()).digest()[:16]


@cache
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def public_der() -> bytes:
    return private_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def write_home(
    home: Path, *, node_key: bytes = NODE_KEY, master: str = MASTER_KEY, identity: bool = True
) -> Path:
    """Write the four files, and others that nobody is to read."""
    secrets = home / "secrets"
    secrets.mkdir(parents=True, exist_ok=True)
    (secrets / "master.key").write_text(master)
    key = aes_key(master)
    (secrets / "jenkins.slaves.JnlpSlaveAgentProtocol.secret").write_bytes(
        encrypt(node_key + MAGIC, key)
    )
    (secrets / "hudson.util.Secret").write_bytes(encrypt(b"x" * 32 + MAGIC, key))
    (home / "credentials.xml").write_text("<secrets/>")
    if identity:
        identity_key = bytes(range(256))
        name = "org.jenkinsci.main.modules.instance_identity.InstanceIdentity.KEY"
        (secrets / name).write_bytes(encrypt(identity_key + MAGIC, key))
        pem = private_key().private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
        (home / "identity.key.enc").write_bytes(encrypt(pem, identity_key[:16]))
    return home
