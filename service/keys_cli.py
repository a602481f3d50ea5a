"""`candour keys`: who may use the server."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.keys import Scope
from service.settings import Settings
from service.store import opened

keys_app = typer.Typer(help="Keys of the HTTP API, in the store of CANDOUR_DATABASE.", no_args_is_help=True)
log = Console(stderr=True, highlight=False)


@keys_app.command(epilog="Example:  [bold]candour keys create newsroom --scope read --scope score[/bold]")
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is: a person or a program.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; may be repeated. admin may do everything.")],
) -> None:
    """Make a key, and print it: the only time that it can be seen."""
    if not name.strip():
        raise typer.BadParameter("whose is it?", param_hint="NAME")
    with opened(Settings().database) as store:
        key, token = store.create_key(name, scope)
    typer.echo(token)
    log.print(
        f"candour: key {key.id} for {name}: keep it, it is stored as a hash and cannot be shown again", markup=False
    )


@keys_app.command("list")
def list_() -> None:
    """List the keys, with those that were revoked."""
    with opened(Settings().database) as store:
        found = store.keys()
    table = Table("id", "name", "begins", "scopes", "created", "revoked", box=None)
    for key in found:
        revoked = f"{key.revoked:%Y-%m-%d %H:%M}" if key.revoked else ""
        table.add_row(
            key.id, Text(key.name), key.prefix, " ".join(sorted(key.scopes)), f"{key.created:%Y-%m-%d %H:%M}", revoked
        )
    Console(highlight=False).print(table)


@keys_app.command(epilog="Example:  [bold]candour keys revoke 3f2a9c1b[/bold]")
def revoke(id: Annotated[str, typer.Argument(help="The key's id, of `candour keys list`.")]) -> None:  # noqa: A002
    """Revoke a key: from the next request on it opens nothing."""
    with opened(Settings().database) as store:
        key = store.revoke_key(id)
    log.print(f"candour: key {key.id} for {key.name} is revoked", markup=False)
