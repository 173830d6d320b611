"""The commands ``models ...``: what can be served, and what can be fetched beforehand. It decides nothing else."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stream_server.terminal import print_rows, say

app = typer.Typer()


class Pulled(StrEnum):
    """Models that are fetched when they are first needed, from elsewhere than the Hugging Face hub."""

    resemblyzer = "resemblyzer"


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Write JSON for machines.")] = False
) -> None:
    """List the models that can be served."""
    if context.invoked_subcommand is not None:
        return
    from stream_server.engine.registry import list_models

    rows = [
        {"name": model.name, "languages": model.languages, "description": model.description} for model in list_models()
    ]
    print_rows(rows, as_json=as_json)


@app.command()
def pull(
    name: Annotated[Pulled, typer.Argument(help="A value of the setting speaker_embedding.")],
    data_dir: Annotated[Path | None, typer.Option(help="The server's folder.")] = None,
) -> None:
    """Fetch a model now, which a server otherwise does when it is first asked to recognize a voice by it."""
    from stream_server.settings import Settings
    from stream_server.speakers.loading import models_folder
    from stream_server.speakers.resemblyzer.asset import pull_weights

    folder = models_folder(Settings.load(data_dir=data_dir))
    say(f"{name} is kept as {pull_weights(folder)}")
