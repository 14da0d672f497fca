"""Commands and their help. What they do stands elsewhere; here are words and exit codes."""

import asyncio
import json
from typing import get_args

import click
import uvloop
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from api import settings as configuration
from api.cli.clearly import Clearly
from api.logs import log_to_stderr
from api.main import database, found_organisation
from api.server import DEFAULT_PORT, Role, serve

NAME_LENGTH_MAX = 200

console = Console()


@click.group(cls=Clearly, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trunkline")
def main() -> None:
    """One business number, shared by several applications.

    Without TRUNKLINE_DATABASE_URL everything runs on a PostgreSQL of its own under TRUNKLINE_HOME.
    """


@main.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Port, {DEFAULT_PORT} by default; 0 takes a free one. Projector and dispatcher listen"
    " only where one is given, for /healthz, /readyz and /metrics.",
)
@click.option(
    "--role",
    type=click.Choice(get_args(Role)),
    default="all",
    show_default=True,
    help="What this process does; with a database of your own the work can be split.",
)
def serve_command(host: str, port: int | None, role: Role) -> None:
    """Serve the API, fold projections, send messages."""
    log_to_stderr()
    settings = configuration.load()
    with database(settings) as where:
        where.migrate()

        def ready(address: str | None) -> None:
            click.echo(f"Trunkline is ready {f'at {address}' if address else f'as {role}'}")

        uvloop.run(serve(settings, where, host=host, port=port, role=role, ready=ready))


@main.command("migrate")
def migrate_command() -> None:
    """Bring the database to the current schema and make its roles. Safe to run twice."""
    with database(configuration.load()) as where:
        applied = where.migrate()
    for name in applied:
        click.echo(f"Applied {name}")
    if not applied:
        click.echo("The database is up to date.")


def _printable(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    """The rules of a name are those of the API."""
    if not name.strip() or not name.isprintable() or len(name) > NAME_LENGTH_MAX:
        raise click.BadParameter(f"must be printable, 1 to {NAME_LENGTH_MAX} characters")
    return name


@main.group("org")
def org_group() -> None:
    """Organisations of this installation."""


@org_group.command("create", short_help="Make an organisation and its first admin.")
@click.argument("name", callback=_printable)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def create_org_command(name: str, as_json: bool) -> None:
    """Make an organisation and its first admin; the API key is shown this once."""
    settings = configuration.load()
    with database(settings) as where:
        where.migrate()
        made = asyncio.run(found_organisation(settings, where, name))
    if as_json:
        click.echo(json.dumps(made))
        return
    click.echo(f"Organisation  {made['organization_id']}")
    click.echo(f"Admin user    {made['user_id']}")
    click.echo(f"API key       {made['api_key']}   (shown once: keep it)")


@main.command("config", short_help="List every environment variable, with its meaning.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def config_command(as_json: bool) -> None:
    """List every environment variable, its meaning, and where its value came from."""
    described = configuration.describe(configuration.load())
    if as_json:
        click.echo(json.dumps([vars(each) for each in described], indent=2))
        return
    for each in described:
        value = f" = {each.value} ({each.source})" if each.value else " is not set"
        console.print(Text.assemble((each.variable, "bold"), value), soft_wrap=True)
        console.print(Padding.indent(Text(each.meaning), 4))
