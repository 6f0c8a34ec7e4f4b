"""`mnatune init`: copy pack and recipes for editing."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from ..runs.errors import UsageError


def init(
    folder: Annotated[Path, typer.Argument(help="New folder for your own recipes and pack.")],
    pack: Annotated[str, typer.Option(help="Pack to start from.")] = "mna_ko",
) -> None:
    """Copy the recipes and a pack into a new folder, ready for editing."""
    from ..pack import Pack
    from ..runs.recipe import bundled

    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{str(folder)!r} is not empty", next_step="choose a new folder; nothing was changed")
    source = Pack.load(pack).root
    shutil.copytree(bundled("recipes"), folder / "recipes")
    shutil.copytree(source, folder / "packs" / source.name)
    for recipe in (folder / "recipes").glob("*.yaml"):
        text = recipe.read_text(encoding="utf-8")
        recipe.write_text(text.replace(f"pack: {source.name}\n", f"pack: packs/{source.name}\n"), encoding="utf-8")
    typer.echo(f"recipes and pack copied to {folder}; next: cd {folder} && mnatune run recipes/quickstart.yaml")
