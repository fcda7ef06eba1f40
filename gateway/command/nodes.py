"""``remoting-gateway nodes``: secrets that the gateway issues, and what becomes of them.

Works on the store in ``state_dir``; a running gateway that has the same one takes notice within
seconds.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.command.node_options import (
    certificate_option,
    duration_option,
    json_option,
    network_option,
    node_arguments,
    opened,
    secret_file_option,
    time_option,
    upstream_option,
    warn_of_damaged,
)
from gateway.command.options import config_option
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.config.credentials import ClientCertificateCondition
    from gateway.config.networks import Network
    from gateway.credentials.nodes import Node

_OVERLAP = 3600.0  # seconds; the help says so


@click.group()
def nodes() -> None:
    """Issue, rotate and revoke the secrets of nodes (mode `nodes`)."""


@nodes.command()
@node_arguments
@config_option
@secret_file_option
@upstream_option
@network_option
@certificate_option
@time_option("--valid-from", "Not before this time, such as 2026-12-31T18:00:00Z.")
@time_option("--valid-until", "Not from this time on.")
@click.option("--note", help="Shown in lists; whom to ask.")
@json_option
def issue(
    controller: str,
    node: str,
    config: Path | None,
    secret_file: Path | None,
    upstream_secret_file: Path | None,
    allow_from: tuple[Network, ...],
    certificate: ClientCertificateCondition | None,
    valid_from: float | None,
    valid_until: float | None,
    note: str | None,
    *,
    as_json: bool,
) -> None:
    """Issue a secret for NODE of CONTROLLER, and show it this once.

    For the agent: `-secret @FILE` with the file, or `-secret SECRET`. A node that was revoked keeps
    its conditions, note and secret in Jenkins, but for those given; `nodes change` drops them.
    """
    from gateway.command.secret_files import read_secret
    from gateway.credentials.conditions import Conditions
    from gateway.credentials.issuing import describe
    from gateway.credentials.node_exchange import check_secret
    from gateway.credentials.store_keys import new_secret

    upstream = None if upstream_secret_file is None else read_secret(upstream_secret_file)
    conditions = Conditions(allow_from, certificate, valid_from, valid_until)
    secret = new_secret()
    with opened(config, controller, node) as site, site.delivery(secret_file, secret):
        if upstream is not None:
            check_secret(upstream, "--upstream-secret-file")
        site.check_upstream(controller, node, upstream)
        issued = site.issuing.issue(
            controller, node, conditions=conditions, upstream=upstream, note=note, secret=secret
        )
    if kept := describe(issued.node.conditions):
        # Also those that were not given now: an agent that is refused by them is a riddle else.
        says = "; ".join(f"{name} {value}" for name, value in kept.items())
        click.echo(f"{controller}/{node}: only with {says}", err=True)
    _deliver("issued", controller, node, secret, secret_file, as_json=as_json)


@nodes.command()
@node_arguments
@config_option
@secret_file_option
@duration_option("--overlap", "How long the secret before it stays good. Default: 1h; 0s: not.")
@json_option
def rotate(
    controller: str,
    node: str,
    config: Path | None,
    secret_file: Path | None,
    overlap: float | None,
    *,
    as_json: bool,
) -> None:
    """Issue another secret for NODE; the one before it is good for a while yet.

    At most two are valid at a time: rotating again within the overlap ends the oldest at once.
    """
    from gateway.credentials.store_keys import new_secret

    secret = new_secret()
    overlap = _OVERLAP if overlap is None else overlap
    with opened(config, controller, node) as site, site.delivery(secret_file, secret):
        site.issuing.rotate(controller, node, overlap=overlap, secret=secret)
    _deliver("rotated", controller, node, secret, secret_file, as_json=as_json)


@nodes.command()
@node_arguments
@config_option
@upstream_option
@network_option
@certificate_option
@time_option("--valid-from", "Not before this time, such as 2026-12-31T18:00:00Z.")
@time_option("--valid-until", "Not from this time on.")
@click.option("--note", help="Shown in lists; whom to ask.")
@click.option(
    "--drop",
    multiple=True,
    type=click.Choice(["allow-from", "certificate", "valid-from", "valid-until"]),
    help="Do not ask for this any more; may be given several times.",
)
def change(
    controller: str,
    node: str,
    config: Path | None,
    upstream_secret_file: Path | None,
    allow_from: tuple[Network, ...],
    certificate: ClientCertificateCondition | None,
    valid_from: float | None,
    valid_until: float | None,
    note: str | None,
    drop: tuple[str, ...],
) -> None:
    """Change NODE's conditions, note, or secret in Jenkins; its own secret stays.

    What is not given stays as it is. A session that does not meet the conditions ends within 5 s.
    """
    from gateway.command.secret_files import read_secret
    from gateway.credentials.conditions import Conditions
    from gateway.credentials.issuing import describe
    from gateway.credentials.node_exchange import check_secret

    conditions = Conditions(allow_from, certificate, valid_from, valid_until)
    if conditions == Conditions() and not drop and note is None and upstream_secret_file is None:
        raise click.UsageError("Give what is to change.")
    upstream = None if upstream_secret_file is None else read_secret(upstream_secret_file)
    with opened(config, controller, node) as site:
        if upstream is not None:
            check_secret(upstream, "--upstream-secret-file")
        found = site.issuing.change(
            controller,
            node,
            conditions=conditions,
            dropped=frozenset(each.replace("-", "_") for each in drop),
            upstream=upstream,
            note=note,
        )
    says = "; ".join(f"{name} {value}" for name, value in describe(found.conditions).items())
    click.echo(f"{controller}/{node}: changed; {f'only with {says}' if says else 'no conditions'}")


def _deliver(
    event: str, controller: str, node: str, secret: str, file: Path | None, *, as_json: bool
) -> None:
    if as_json:
        shown = {"controller": controller, "node": node, "event": event}
        shown |= {"secret": secret} if file is None else {"secret_file": str(file)}
        click.echo(json.dumps(shown))
    elif file is None:
        click.echo(f"{controller}/{node}: {event}; the secret is not shown again:", err=True)
        click.echo(secret)
    else:
        click.echo(f"{controller}/{node}: {event}; the secret is in {file}")


@nodes.command()
@node_arguments
@config_option
def revoke(controller: str, node: str, config: Path | None) -> None:
    """End all of NODE's secrets, and its session with one of them, within 5 s.

    Where the controller has further modes, what these accept is still let in; `deny` in nodes.rules
    of the configuration keeps a node out altogether.
    """
    with opened(config, controller, node) as site:
        site.issuing.revoke(controller, node)
    click.echo(f"{controller}/{node}: revoked; a running gateway ends its session within 5 s")


@nodes.command()
@node_arguments
@config_option
@time_option("--at", "When access ends, such as 2026-12-31T18:00:00Z.")
@duration_option("--in", "How long from now access ends, such as 8h.")
@click.option("--never", is_flag=True, help="Access does not end by itself.")
def expire(
    controller: str,
    node: str,
    config: Path | None,
    at: float | None,
    in_: float | None,
    *,
    never: bool,
) -> None:
    """Have NODE's access end by itself, sessions included."""
    from gateway.credentials.conditions import format_time

    if (at is not None) + (in_ is not None) + never != 1:
        raise click.UsageError("Give one of --at TIME, --in DURATION and --never.")
    end = time.time() + in_ if in_ is not None else at
    with opened(config, controller, node) as site:
        site.issuing.expire(controller, node, at=end)
    says = "does not end by itself" if end is None else f"ends at {format_time(end)}"
    click.echo(f"{controller}/{node}: {says}")


@nodes.command()
@click.argument("controller", required=False)
@click.argument("node", required=False)
@config_option
@click.option("--address", metavar="IP", help="Only, or also, failures from this address.")
@click.option("--all", "everything", is_flag=True, help="Forget all failures.")
def unlock(
    controller: str | None,
    node: str | None,
    config: Path | None,
    address: str | None,
    *,
    everything: bool,
) -> None:
    """Have every worker forget wrong secrets: of NODE, from an address, or all."""
    from gateway.config.networks import peer_address

    if controller is not None and node is None:
        raise click.UsageError("NODE is missing.")
    if everything == (controller is not None or address is not None):
        raise click.UsageError("Give CONTROLLER NODE, --address IP, or --all.")
    if address is not None and peer_address(address) is None:
        raise ConfigError(f'--address: found "{address}"; allowed: an IP address')
    pair = None if controller is None or node is None else (controller, node)
    with opened(config, controller, node) as site:
        site.issuing.unlock(node=pair, address=address)
    click.echo("A running gateway forgets them within 5 s.")


@nodes.command("list")
@config_option
@click.option("--on", "controller", metavar="CONTROLLER", help="Only those of this controller.")
@json_option
def list_(config: Path | None, controller: str | None, *, as_json: bool) -> None:
    """List the nodes that have, or had, a secret of the gateway's."""
    from gateway.command.node_tables import print_list
    from gateway.credentials.node_exchange import to_listing

    with opened(config, controller, None) as site:
        nodes = site.store.nodes()
    found = [each for each in nodes.found if controller in (None, each.controller)]
    listing = [to_listing(each, time.time()) for each in found]
    warn_of_damaged(nodes)
    if as_json:
        click.echo(json.dumps(listing, indent=1))
    else:
        print_list(listing)


@nodes.command()
@node_arguments
@config_option
@json_option
def show(controller: str, node: str, config: Path | None, *, as_json: bool) -> None:
    """Show NODE: conditions, secrets (never themselves), and what happened to it."""
    from gateway.command.node_tables import print_node
    from gateway.credentials.conditions import format_time
    from gateway.credentials.node_exchange import to_listing

    with opened(config, controller, node) as site:
        found = site.store.find(controller, node)
        history = site.store.history(controller, node)
    if found is None:
        raise ConfigError(f"{controller}/{node}: no secret was ever issued for it")
    listing: dict[str, Any] = to_listing(found, time.time())
    listing["history"] = [
        {
            "at": format_time(each.at),
            "event": each.event,
            "operator": each.operator,
            **each.details,
        }
        for each in history
    ]
    if as_json:
        click.echo(json.dumps(listing, indent=1))
    else:
        print_node(listing)


@nodes.command()
@config_option
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Default: print."
)
def export(config: Path | None, output: Path | None) -> None:
    """Write all nodes as JSON, for a backup or another gateway.

    No secret can be read from it without the key file (store.key_file): keep the two apart.
    """
    from gateway.command.secret_files import write_secret_file
    from gateway.credentials.node_exchange import FORMAT, to_export

    with opened(config, None, None) as site:
        nodes = site.issuing.export()
    found = [to_export(each) for each in nodes.found]
    text = json.dumps({"format": FORMAT, "nodes": found}, indent=1)
    if output is None:
        click.echo(text)
    else:
        write_secret_file(output, text.encode() + b"\n")
        click.echo(f"{output}: {len(found)} nodes written")
    if warn_of_damaged(nodes):
        raise click.exceptions.Exit(1)  # a backup that is not whole


@nodes.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@config_option
@click.option("--replace", is_flag=True, help="Put imported nodes in the place of existing ones.")
def import_(file: Path, config: Path | None, *, replace: bool) -> None:
    """Read nodes from FILE, `-` for standard input: all of them, or none.

    Either what `nodes export` wrote, with the same key file, or entries with plain secrets:
    {"controller": ..., "node": ..., "secret": ..., "upstream_secret": ...}, with note, allow_from,
    certificate, valid_from and valid_until where wanted. Other keys are errors.
    """
    from gateway.command.secret_files import read_input, unrepeated
    from gateway.credentials.node_import import read_nodes
    from gateway.credentials.store_keys import StoreKeys

    try:
        document = json.loads(read_input(file), object_pairs_hook=unrepeated)
    except (ValueError, RecursionError):
        raise ConfigError(f"{file}: allowed: JSON as `nodes export` writes it") from None
    with opened(config, None, None) as site:

        def make(keys: StoreKeys, now: float) -> list[Node]:
            found = read_nodes(document, keys, now)
            site.check_imported(found)
            return found

        count = site.issuing.import_(make, force=replace)
    click.echo(f"{file}: {count} nodes imported")


@nodes.command()
@config_option
def rekey(config: Path | None) -> None:
    """Put a new key into the store's key file, and drop old ones that nothing needs.

    A secret stays with its old key until its agent connects the next time; run this again later to
    drop that key. A running gateway takes notice by itself.
    """
    with opened(config, None, None) as site:
        left = site.issuing.rekey()
    if left:
        click.echo(f"New key in use; {len(left)} old ones are still needed: {', '.join(left)}")
    else:
        click.echo("New key in use; no old one is needed any more.")
