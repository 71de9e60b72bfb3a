"""The command line: `sluice`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.errors import SluiceError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="From raw crawls, PDFs and code to clean documents, token shards, the best mixture and a trained model.\n\n"
    "Exit status: 0 done, 1 the run stopped, 2 the recipe or the command is wrong, 3 the machine is in the way "
    "(disk full, no Ray), 130 interrupted. After 1, 3 and 130 the same command goes on where it was.",
)

RecipeArgument = Annotated[Path, typer.Argument(help="Recipe file (YAML).")]
RunArgument = Annotated[Path, typer.Argument(help="Folder of a run.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override: artifact.option=value; may be given several times."),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Folder of the run; runs/<name of the recipe> if absent.")
]
AddressOption = Annotated[
    str | None, typer.Option(help="Ray cluster: auto or ray://host:port. A Ray of its own on this machine if absent.")
]


@app.command()
def validate(
    recipe: RecipeArgument,
    set_: SetOption = None,
    full: Annotated[bool, typer.Option("--full", help="Print every option with its value.")] = False,
) -> None:
    """Check a recipe whole, without running anything."""
    from pipeline import commands

    print(commands.validate(recipe, set_ or [], full))


@app.command()
def run(
    recipe: RecipeArgument,
    set_: SetOption = None,
    out: OutOption = None,
    address: AddressOption = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Read again the files that an earlier run could not get from their server.")
    ] = False,
) -> None:
    """Run a recipe; go on where an earlier run of it stopped."""
    from pipeline import commands

    commands.run_recipe(recipe, set_ or [], out, address, Console(), retry)


@app.command()
def status(run: RunArgument) -> None:
    """Show how far a run is."""
    from pipeline import commands

    message, table = commands.status(run)
    console = Console()
    console.print(message, highlight=False, soft_wrap=True)
    console.print(table)


@app.command()
def report(run: RunArgument) -> None:
    """Write RUN/report.html again from the run's artifacts."""
    from pipeline.report import write_report
    from pipeline.run import Run

    print(write_report(Run.open(run)))


@app.command()
def explain(run: RunArgument, document_id: Annotated[str, typer.Argument(help="Id of a document.")]) -> None:
    """Tell what became of one document, and why."""
    from pipeline.explain import explain as story

    print(story(run, document_id))


@app.command()
def rethreshold(
    run: RunArgument,
    artifact: Annotated[str, typer.Argument(help="Artifact whose filters decide again.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="STAGE.OPTION=VALUE", help="A threshold; may be given several times."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="File for the selection; under RUN if absent.")] = None,
) -> None:
    """Tell from stored scores what other thresholds would keep, and write that selection."""
    from pipeline import commands

    message, tables = commands.rethresholded(run, artifact, set_ or [], out)
    console = Console()
    for table in tables:
        console.print(table)
    console.print(message, highlight=False, soft_wrap=True)


@app.command(name="try")
def try_(
    stage: Annotated[str, typer.Argument(help="Name of a stage, for example extract_html or gopher_quality.")],
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="A few files or URLs: HTML, PDF, WARC, JSON Lines, tables, EPUB, code."),
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Option of the stage: option=value.")
    ] = None,
) -> None:
    """Run one stage on a few files and print one JSON line a document."""
    from pipeline import commands

    for line in commands.try_stage(stage, files, set_ or []):
        print(line)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where the corpus and the run go.")] = Path("demo"),
    size: Annotated[str, typer.Option(help="tiny, small or full.")] = "full",
    build_only: Annotated[
        bool, typer.Option("--build-only", help="Build the corpus and the recipe, run nothing.")
    ] = False,
    set_: SetOption = None,
    address: AddressOption = None,
) -> None:
    """Build a corpus from the Python installation on this machine and run the whole line on it."""
    from pipeline import demo as demonstration

    demonstration.run_demo(folder, size, build_only, set_ or [], address, Console())


def main() -> None:
    """Entry point: errors for the user become one message and an exit status."""
    try:
        app()
    except SluiceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
