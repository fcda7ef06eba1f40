"""``remoting-gateway jenkins-secrets``: what the gateway needs of a controller's secrets."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.errors import ConfigError


@click.group("jenkins-secrets")
def jenkins_secrets() -> None:
    """Take the node-secret key and the public identity out of a JENKINS_HOME."""


@jenkins_secrets.command()
@click.option(
    "--jenkins-home",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The controller's $JENKINS_HOME.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="What to write; `-`: standard output.",
)
@click.option(
    "--master-key",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where Jenkins runs with -Djenkins.security.DefaultConfidentialStore.file=FILE.",
)
def extract(jenkins_home: Path, output: Path, master_key: Path | None) -> None:
    """Write FILE (mode 0600) with the node-secret key and the controller's public identity.

    Run it on the controller's machine and copy FILE to the gateway; the rest of Jenkins' secrets
    stays where it is. Four files are read: secrets/master.key, the node-secret key, and the two of
    the identity. FILE is for `credentials: {jenkins_secrets: FILE}` and `identity:
    {jenkins_secrets: FILE}` of the controller.
    """
    from gateway.command.secret_files import write_secret_file
    from gateway.credentials.jenkins_home import JenkinsFileError, JenkinsHome

    try:
        extracted = JenkinsHome(jenkins_home, master_key).read()
    except JenkinsFileError as error:
        raise ConfigError(str(error)) from None
    is_printed = str(output) == "-"
    if is_printed:
        click.echo(extracted.to_bytes(), nl=False)
    else:
        write_secret_file(output, extracted.to_bytes())
        click.echo(f"{output}: written")
    click.echo("It holds the key of every node's secret, so keep it like one.", err=is_printed)
    if extracted.identity is None:
        click.echo(
            f"There is no {jenkins_home / 'identity.key.enc'}, so FILE has no identity.", err=True
        )
    else:
        click.echo(f"identity: {extracted.identity.fingerprint}", err=is_printed)
