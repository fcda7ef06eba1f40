"""Every configuration in README and docs can be used: it passes what ``check`` does.

A block is a configuration if its keys are; parts of one are completed. Whatever else is YAML has a
place in ``OTHERS``, so that a misspelt key cannot make a configuration look like something else.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jsonschema import Draft7Validator

from gateway.config.extracted import Extracted
from gateway.config.keys import PublicKey
from gateway.config.load import load
from gateway.config.schema import config_schema
from tests.certificates import authority, issue
from tests.config.certificates import rsa_key
from tests.docs.pages import PAGES, ROOT, Block, blocks_of

TOP_LEVEL: Final = frozenset(config_schema()["properties"])
_HOSTS: Final = ("jenkins.example.com", "agents.example.com")
_URL: Final = "http://jenkins.lan:8080/"
# It asks for client certificates, so that conditions on them can hold.
_LISTENER: Final = """\
  - address: "127.0.0.1:8443"
    tls:
      certificates: [{certificate: tls.crt, key: tls.key}]
      client_certificates: {mode: optional, ca_file: clients.pem}
"""


def _prometheus(block: Block) -> None:
    (job,) = yaml.safe_load(block.text)["scrape_configs"]
    assert job["static_configs"]


def _helm_values(block: Block) -> None:
    schema = json.loads((ROOT / "helm/remoting-gateway/values.schema.json").read_text("utf-8"))
    Draft7Validator(schema).validate(yaml.safe_load(block.text))


# Page and first key of what is YAML and no configuration of ours -> how it is checked.
OTHERS: Final[dict[tuple[str, str], Callable[[Block], None]]] = {
    ("operations.md", "scrape_configs"): _prometheus,
    ("helm.md", "image"): _helm_values,
}


def _keys(text: str) -> list[str]:
    return re.findall(r"^([A-Za-z_]+):", text, re.M)


def _is_part_of_a_controller(block: Block) -> bool:
    first = next((line for line in block.text.splitlines() if line.strip()), "")
    return block.language == "yaml" and first.startswith("    ")


def _looks_like_configuration(block: Block) -> bool:
    """Say whether a block without a language holds keys of the configuration, and nothing else."""
    keys = _keys(block.text)
    return not block.language and bool(keys) and set(keys) <= TOP_LEVEL


BLOCKS: Final = [block for page in PAGES for block in blocks_of(page)]
YAML: Final = [block for block in BLOCKS if block.language == "yaml"]
CONFIGURATIONS: Final = [
    block
    for block in BLOCKS
    if _looks_like_configuration(block)
    or (block in YAML and (block.page.name, "".join(_keys(block.text)[:1])) not in OTHERS)
]


def _complete(block: Block) -> str:
    """Return a whole configuration that has the block's lines as they are."""
    text = block.text
    if _is_part_of_a_controller(block):
        text = f"controllers:\n  main:\n    url: {_URL}\n{text}"
    keys = _keys(text)
    if "listeners" not in keys:
        text += "\nlisteners:\n" + _LISTENER
    if "controllers" not in keys:
        names = sorted({"main", *re.findall(r"\bcontroller: ([\w-]+)", text)})
        text += f"\ncontrollers: {{{', '.join(f'{name}: {{url: {_URL!r}}}' for name in names)}}}\n"
    return text


def _with_files(text: str, folder: Path) -> str:
    """Make the files that a configuration names, and name them below ``folder``."""
    text = re.sub(r"/etc/(?:tls/)?", "", text)
    text = text.replace("/var/log/remoting-gateway/", "")
    leaf = issue(*_HOSTS)
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    key = rsa_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    contents = {
        r"(?:tls/)?[\w-]+\.crt": chain,
        r"(?:tls/)?[\w-]+\.key": leaf.private_key_pem.bytes(),
        r"[\w-]+\.pem": authority().cert_pem.bytes(),
        r"[\w-]+\.secrets": Extracted(b"0" * 32, PublicKey(key)).to_bytes(),
        r"identities/[\w-]+": base64.b64encode(key),
        r"[\w-]+\.token": b"0123456789abcdef0123456789abcdef\n",
    }
    for pattern, content in contents.items():
        for name in re.findall(rf"(?<![\w./-]){pattern}(?![\w/])", text):
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o600)
    return text


def test_they_are_found() -> None:
    assert len(CONFIGURATIONS) > 12
    assert {block.page.name for block in CONFIGURATIONS} > {"README.md", "operations.md", "uses.md"}


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=str)
def test_a_configuration_can_be_used(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(_with_files(_complete(block), tmp_path), "utf-8")
    load(path, environ={})


@pytest.mark.parametrize("block", [each for each in YAML if each not in CONFIGURATIONS], ids=str)
def test_other_yaml_is_what_it_seems(block: Block) -> None:
    OTHERS[(block.page.name, _keys(block.text)[0])](block)


@pytest.mark.parametrize("use", ["sidecar", "edge", "translator"])
def test_the_uses_show_the_examples_that_are_to_be_copied(use: str) -> None:
    """Of several controllers the page shows the first alone."""
    blocks = [each for each in CONFIGURATIONS if each.page.name == "uses.md"]
    example = yaml.safe_load((ROOT / f"deploy/kubernetes/{use}/gateway.yaml").read_text("utf-8"))
    shown = yaml.safe_load(blocks[["sidecar", "edge", "translator"].index(use)].text)
    assert shown["routes"] == example["routes"][:1]
    assert {key: example["controllers"][key] for key in shown["controllers"]} == shown[
        "controllers"
    ]
    rest = {"controllers", "routes"}
    assert {k: v for k, v in shown.items() if k not in rest} == {
        k: v for k, v in example.items() if k not in rest
    }


def test_a_mistake_is_found(tmp_path: Path) -> None:
    block = next(each for each in CONFIGURATIONS if each.page.name == "uses.md")
    wrong: dict[str, Any] = {"page": block.page, "line": 1, "language": "yaml"}
    with pytest.raises(Exception, match="adress"):
        test_a_configuration_can_be_used(
            Block(text=block.text.replace("address:", "adress:", 1), **wrong), tmp_path
        )
