"""The command line: `sluice`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipeline import arguments
from pipeline.errors import RecipeError, SluiceError
from pipeline.locations.location import shown

if TYPE_CHECKING:
    from pipeline.progress import Tick


def _stages(incomplete: str) -> list[str]:
    """For the shell: stages that a recipe can name."""
    from stages.catalog import PARTS, STAGES

    return sorted(name for name in STAGES if name.startswith(incomplete) and name not in PARTS)


def _artifacts(context: typer.Context, incomplete: str) -> list[str]:
    """For the shell: artifacts of the run that is named before."""
    run = context.params.get("run") or next(iter(context.args), "")  # before an option without its value, no argument
    try:  # of the command is bound to its name
        names = json.loads((Path(run) / "run.json").read_bytes())["artifacts"]
    except (OSError, ValueError, TypeError, KeyError):  # no run yet, or one in a store: nothing to offer
        return []
    return [name for name in names if name.startswith(incomplete)]


def _kinds(incomplete: str) -> list[str]:
    """For the shell: recipes to begin with."""
    from pipeline import catalog

    return [kind for kind in catalog.new_kinds() if kind.startswith(incomplete)]


def _formats(incomplete: str) -> list[str]:
    """For the shell: formats of other trainers."""
    from stages.tokenize.exports.formats import FORMATS

    return [name for name in FORMATS if name.startswith(incomplete)]


def _one_of(*words: str) -> Callable[[str], list[str]]:
    """For the shell: these words."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 120},
    help="From raw crawls, PDFs and code to clean documents, token shards, the best mixture and a trained model.\n\n"
    "Exit status: 0 done, 1 the run stopped, 2 the recipe or the command is wrong, 3 the machine is in the way "
    "(disk full, no Ray), 130 interrupted. After 1, 3 and 130 the same command goes on where it was.",
)

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and the last line alone.")]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Tell of each part as it is handed out, lost, and as it ends.")
]
NoProgressOption = Annotated[bool, typer.Option("--quiet", "-q", help="Do not tell how far it is.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="Recipe file (YAML): a path, or a URL such as s3://bucket/recipe.yaml.")
]


def input_option(name: str, help: str) -> Any:
    return typer.Option(name, parser=arguments.input_file, metavar="FILE", help=f"{help} A path or a URL.")


def output_option(help: str) -> Any:
    return typer.Option(
        "--out", parser=arguments.output_file, metavar="FILE", help=f"{help} A path, or a URL in a store."
    )


RunArgument = Annotated[
    Path, typer.Argument(parser=arguments.folder, metavar="RUN", help="Folder of a run, or its URL: s3://bucket/run.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override: artifact.option=value; may be given several times."),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        parser=arguments.folder,
        metavar="FOLDER",
        help="Folder of the run, or its URL (s3://, gs://, az://); runs/<name of the recipe> if absent.",
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="Ray cluster: auto or ray://host:port. A Ray of its own on this machine if absent."
    ),
]


@app.command()
def validate(
    recipe: RecipeArgument,
    set_: SetOption = None,
    full: Annotated[bool, typer.Option("--full", help="Print every option with its value, as YAML.")] = False,
    json_: JsonOption = False,
) -> None:
    """Check a recipe whole, without running anything.

    \b
    Example: sluice validate my-corpus.yaml --full
    """
    from pipeline import commands

    print(commands.validate(recipe, set_ or [], full, json_))


@app.command()
def run(
    recipe: RecipeArgument,
    set_: SetOption = None,
    out: OutOption = None,
    address: AddressOption = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Read again the files that an earlier run could not get from their server.")
    ] = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Run a recipe; go on where an earlier run of it stopped.

    \b
    Example: sluice run my-corpus.yaml --out runs/my-corpus --set clean.min_words=40
    """
    from pipeline import commands

    commands.run_recipe(recipe, set_ or [], out, address, Console(quiet=quiet), retry, verbose)


@app.command()
def new(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="crawl (one file), pdf, code, or all: the whole line.", autocompletion=_kinds
        ),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="To be written, such as my-corpus.yaml.")],
) -> None:
    """Write a commented recipe to begin with.

    \b
    Example: sluice new crawl my-corpus.yaml
    """
    from pipeline import catalog

    catalog.write_new(kind, file)
    print(f"{file} is written. Next: sluice validate {file}")


@app.command()
def stages(
    name: Annotated[
        str | None, typer.Argument(metavar="STAGE", help="Tell all about this one.", autocompletion=_stages)
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print all stages with JSON Schemas of their options.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of recipes, by which editors complete them.")
    ] = False,
) -> None:
    """List the stages of recipes, or the options of one.

    \b
    Example: sluice stages gopher_quality
    """
    from pipeline import catalog

    if schema:
        print(catalog.recipe_schema(), end="")
    elif json_:
        print(catalog.stages_json())
    elif name:
        print(catalog.described(name), end="")
    else:
        lines = list(catalog.stage_lines())
        width = max(len(stage) for stage, _ in lines)
        for stage, said in lines:
            print(f"{stage:{width}}  {said}")


@app.command()
def plan(
    recipe: RecipeArgument,
    sample: Annotated[
        str, typer.Option("--sample", metavar="SHARE", help="Of each source's input files; 4 of each at least.")
    ] = "0.1%",
    set_: SetOption = None,
    out: OutOption = None,
    address: AddressOption = None,
    prices: Annotated[Path | None, input_option("--prices", "Tell money, too; see deploy/prices.yaml.")] = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Forecast a whole run from a sample of its input files.

    \b
    Example: sluice plan recipe.yaml --sample 0.1% --prices deploy/prices.yaml

    The recipe is run on the sample. That run is kept in runs/NAME.plan: a larger sample goes on from it.
    """
    from pipeline.forecast import command
    from pipeline.progress import say, say_last

    console = Console(stderr=json_, quiet=quiet)
    forecast = command.plan(recipe, set_ or [], sample, out, address, prices, console, verbose)
    if json_:
        print(command.as_json(forecast))
        return
    console.print(command.as_table(forecast))
    total, *notes = command.sentences(forecast)
    say_last(console, total)
    for note in notes:
        say(console, note)


@app.command()
def status(run: RunArgument, json_: JsonOption = False) -> None:
    """Show how far a run is.

    \b
    Example: sluice status runs/my-corpus
    """
    from pipeline import commands
    from pipeline.run import Run

    if json_:
        print(commands.status_json(Run.open(run)))
        return
    message, table = commands.status(Run.open(run))
    console = Console()
    console.print(message, highlight=False, soft_wrap=True)
    console.print(table)


@app.command()
def clean(
    run: RunArgument,
    older_than: Annotated[
        float,
        typer.Option(
            "--older-than", metavar="HOURS", min=0, help="In an object store, leave what is younger; it may be in use."
        ),
    ] = 24.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be removed.")] = False,
    json_: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove what killed processes left in a run.

    That is files that no record names, unfinished uploads and fetched copies; of an export in an object store that was
    left unfinished, all of it.

    \b
    Example: sluice clean runs/my-corpus --dry-run
    """
    from pipeline.clean import clean as clean_run
    from pipeline.clean import clean_export
    from pipeline.progress import working
    from pipeline.publishing import is_unfinished
    from pipeline.run import Run
    from pipeline.storage import shown

    with working("looking for leftovers", quiet):
        if is_unfinished(run):
            leftovers = clean_export(run, older_than * 3600, dry_run)
        else:
            leftovers = clean_run(Run.open(run), older_than * 3600, dry_run)
    told = [
        {
            "kind": leftover.kind,
            "path": str(leftover.path if leftover.kind == "fetched files" else shown(leftover.path)),
            "size_bytes": leftover.size_bytes,
        }
        for leftover in leftovers
    ]
    if json_:
        print(json.dumps({"removed": not dry_run, "leftovers": told}, indent=1))
        return
    for one in () if quiet else told:
        print(f"{one['kind']}: {one['path']} ({one['size_bytes']:,} bytes)")
    done = "would be removed" if dry_run else "removed"
    what = "1 leftover" if len(leftovers) == 1 else f"{len(leftovers):,} leftovers"
    print(f"{what} of {sum(one.size_bytes for one in leftovers):,} bytes {done}")


@app.command()
def report(run: RunArgument, json_: JsonOption = False, quiet: NoProgressOption = False) -> None:
    """Write RUN/report.html again from the run's artifacts.

    \b
    Example: sluice report runs/my-corpus
    """
    from pipeline.progress import working
    from pipeline.report import write_report
    from pipeline.run import Run
    from pipeline.storage import shown

    with working("writing the report", quiet) as tick:
        path = shown(write_report(Run.open(run), tick))
    print(json.dumps({"report": str(path)}) if json_ else path)


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(parser=arguments.folder, metavar="RUN_A", help="A run, or its URL.")],
    run_b: Annotated[Path, typer.Argument(parser=arguments.folder, metavar="RUN_B", help="A run, or its URL.")],
    out: Annotated[Path | None, output_option("HTML file for all differences, with samples to read.")] = None,
    json_: JsonOption = False,
    quiet: NoProgressOption = False,
) -> None:
    """Tell what two runs differ in.

    In recipes, documents lost and gained, filters, mixes, tokens, models and cost.

    \b
    Example: sluice compare runs/base runs/strict --out compare.html
    """
    from pipeline.compare import compared

    print(compared(run_a, run_b, out, json_, quiet))


@app.command()
def explain(
    run: RunArgument,
    document_id: Annotated[str | None, typer.Argument(metavar="ID", help="Id of a document.")] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard", metavar="SHARD:OFFSET", help="A token of it instead, as in tokens/web/train-00000.bin:12345."
        ),
    ] = None,
    json_: JsonOption = False,
    quiet: NoProgressOption = False,
) -> None:
    """Tell what became of one document, and why.

    The document is named by its id, or by a token of it.

    \b
    Example: sluice explain runs/my-corpus --shard tokens/web/train-00000.bin:12345
    """
    from pipeline.explain import explain as story
    from pipeline.explain import explain_offset
    from pipeline.progress import working

    if (document_id is None) == (shard is None):
        raise RecipeError("give the id of a document, or a token by --shard SHARD:OFFSET")
    if document_id is not None:
        with working("looking for the document", quiet) as tick:
            told = story(run, document_id, tick)
    else:
        path, _, offset = str(shard).rpartition(":")
        if not offset.isdecimal():
            raise RecipeError(f"--shard {shard}: expected SHARD:OFFSET, for example tokens/web/train-00000.bin:12345")
        with working("looking for the document", quiet) as tick:
            told = explain_offset(run, path, int(offset), tick)
    print(told.as_json() if json_ else told.as_text())


@app.command(name="take-down")
def take_down(
    run: RunArgument,
    document_ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of documents.")] = None,
    ids: Annotated[Path | None, input_option("--ids", "File of ids, a line each.")] = None,
    urls: Annotated[Path | None, input_option("--urls", "File of URLs, a line each.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be taken out, change nothing.")] = False,
    allow_absent: Annotated[
        bool, typer.Option("--allow-absent", help="Pass over ids and URLs that the run has not seen.")
    ] = False,
    json_: JsonOption = False,
    quiet: NoProgressOption = False,
) -> None:
    """Take documents out of a run's token shards.

    Those that were written from them go too; nothing is run again. Without documents: finish what was interrupted, and
    hold shards that were made anew to what was asked for before.

    \b
    Example: sluice take-down runs/my-corpus --urls urls.txt --dry-run
    """
    from pipeline import commands
    from stages.tokenize.take_down import rewritten

    values, lines = commands.take_down(run, document_ids or [], ids, urls, rewritten, dry_run, allow_absent, quiet)
    print(json.dumps(values, indent=1) if json_ else "\n".join(lines))


@app.command()
def rethreshold(
    run: RunArgument,
    artifact: Annotated[
        str, typer.Argument(metavar="ARTIFACT", help="Artifact whose filters decide again.", autocompletion=_artifacts)
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="STAGE.OPTION=VALUE", help="A threshold; may be given several times."),
    ] = None,
    out: Annotated[Path | None, output_option("File for the selection; under RUN if absent.")] = None,
    json_: JsonOption = False,
    quiet: NoProgressOption = False,
) -> None:
    """Tell from stored scores what other thresholds would keep.

    The documents that they keep are written as a selection.

    \b
    Example: sluice rethreshold runs/my-corpus clean --set gopher_quality.min_words=40
    """
    from pipeline import commands
    from pipeline.progress import working
    from pipeline.rethreshold import rethreshold as decide_again

    with working("deciding again", quiet) as tick:
        selection = decide_again(run, artifact, set_ or [], out, tick)
    if json_:
        print(commands.selection_json(selection))
        return
    message, tables = commands.selection_told(selection)
    console = Console()
    for table in tables:
        console.print(table)
    console.print(message, highlight=False, soft_wrap=True)


@app.command()
def export(
    tokens: Annotated[
        Path,
        typer.Argument(parser=arguments.folder, metavar="RUN_OR_FOLDER", help="A run, or a finished token folder."),
    ],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="megatron, datatrove, olmo, nanogpt, parquet-text, parquet-ids, litdata or mds.",
            autocompletion=_formats,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", parser=arguments.folder, metavar="FOLDER", help="The new folder, or its URL: s3://bucket/tokens."
        ),
    ],
    split: Annotated[
        str,
        typer.Option(
            "--split", metavar="SPLIT", help="train or held_out.", autocompletion=_one_of("train", "held_out")
        ),
    ] = "train",
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="SOURCE", help="Only this source; may be given several times."),
    ] = None,
    artifact: Annotated[
        str | None,
        typer.Option(
            "--artifact", metavar="ARTIFACT", help="Which tokens, if a run has several.", autocompletion=_artifacts
        ),
    ] = None,
    quiet: NoProgressOption = False,
) -> None:
    """Write token shards in the format of another trainer.

    \b
    Example: sluice export runs/my-corpus --format megatron --out megatron
    """
    from pipeline import commands
    from pipeline.progress import working
    from pipeline.storage import shown
    from stages.tokenize.exports import export as export_tokens

    with working("exporting", quiet) as tick:
        done = export_tokens(commands.tokens_folder(tokens, artifact), out, format_, split, source, tick)
    print(
        f"{shown(done.folder)}: {done.tokens:,} tokens of {done.documents:,} documents in {done.files:,} files, "
        f"{done.size_bytes:,} bytes, of which {done.linked_bytes:,} are links"
    )
    for note in done.notes:
        print(note)


@app.command(name="try")
def try_(
    stage: Annotated[
        str,
        typer.Argument(
            metavar="STAGE", help="Name of a stage, for example extract_html or gopher_quality.", autocompletion=_stages
        ),
    ],
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="A few files or URLs: HTML, PDF, WARC, JSON Lines, tables, EPUB, code."),
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Option of the stage: option=value.")
    ] = None,
    quiet: NoProgressOption = False,
) -> None:
    """Run one stage on a few files; print a JSON line a document.

    \b
    Example: sluice try gopher_quality page.html --set min_words=40
    """
    from pipeline.trying import try_stage

    for line in list(try_stage(stage, files, set_ or [], quiet)):
        print(line)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the corpus and the run go.")] = Path("demo"),
    size: Annotated[
        str, typer.Option(metavar="SIZE", help="tiny, small or full.", autocompletion=_one_of("tiny", "small", "full"))
    ] = "full",
    build_only: Annotated[
        bool, typer.Option("--build-only", help="Build the corpus and the recipe, run nothing.")
    ] = False,
    set_: SetOption = None,
    address: AddressOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Run the whole line on a corpus that is built here.

    The corpus is made of the Python installation of this machine.

    \b
    Example: sluice demo --size small
    """
    from pipeline import demo as demonstration

    demonstration.run_demo(folder, size, build_only, set_ or [], address, Console(quiet=quiet), verbose)


mix_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Fit runs, predict mixtures, solve for the best one.\n\n"
    "With the fit.json of a run's mix, or with tables of runs made elsewhere.",
)
app.add_typer(mix_app, name="mix")

FitArgument = Annotated[
    Path,
    typer.Argument(
        parser=arguments.input_file, metavar="FIT", help="Stored fit: of `sluice mix fit`, or of a run's mix."
    ),
]
FitOutOption = Annotated[Path, output_option("File for the fit.")]
IdOption = Annotated[str, typer.Option("--on", metavar="COLUMN", help="Column of ids.")]
LimitsOption = Annotated[
    Path | None,
    input_option("--limits", "YAML: target_tokens, max_epochs, tokens and bounds of each source, groups."),
]


@contextmanager
def _mix_work(what: str, quiet: bool) -> Iterator[Tick]:
    """Tells that the mix optimizer works; its errors, as it knows nothing of this command line, as the command's."""
    from mixes.commands import USER_ERRORS
    from pipeline.progress import working

    try:
        with working(what, quiet) as tick:
            yield tick
    except USER_ERRORS as error:
        raise RecipeError(str(error)) from error


@mix_app.command(name="fit")
def mix_fit(
    out: FitOutOption,
    mixtures: Annotated[
        Path | None, input_option("--mixtures", "CSV or Parquet: ids, and one column per source.")
    ] = None,
    metrics: Annotated[
        Path | None, input_option("--metrics", "CSV or Parquet: ids, and one column per metric.")
    ] = None,
    on: IdOption = "index",
    runs: Annotated[Path | None, input_option("--runs", "runs.parquet of a swarm, instead of two tables.")] = None,
    size: Annotated[
        str | None, typer.Option("--size", metavar="SIZE", help="Size of the runs to take from runs.parquet.")
    ] = None,
    limits: LimitsOption = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of all that is drawn.")] = 0,
    quiet: NoProgressOption = False,
) -> None:
    """Fit every metric to the mixtures of runs.

    Tells how well runs that are left out are predicted.

    \b
    Example: sluice mix fit --mixtures mixtures.csv --metrics losses.csv --out fit.json
    """
    with _mix_work("fitting", quiet) as tick:
        from mixes import commands

        given = {"mixtures": mixtures, "metrics": metrics, "runs": runs, "limits": limits}
        told = arguments.written(
            out, lambda file: commands.fit_tables(out=file, **given, on=on, size=size, seed=seed, tick=tick)
        )
    print(told)


@mix_app.command(name="predict")
def mix_predict(
    fit: FitArgument,
    mixtures: Annotated[Path, input_option("--mixtures", "CSV or Parquet: ids, and one column per source.")],
    out: Annotated[Path, output_option("CSV or Parquet file for the predictions.")],
    on: IdOption = "index",
    quiet: NoProgressOption = False,
) -> None:
    """Predict every metric for the mixtures of a table.

    \b
    Example: sluice mix predict fit.json --mixtures new.csv --out predicted.csv
    """
    with _mix_work("predicting", quiet):
        from mixes import commands

        told = arguments.written(out, lambda file: commands.predict_table(fit, mixtures, on, file))
    print(told)


@mix_app.command(name="solve")
def mix_solve(
    fit: FitArgument,
    weights: Annotated[
        Path | None, input_option("--weights", "YAML or JSON: metric, source or answer set, and its weight.")
    ] = None,
    limits: LimitsOption = None,
    out: Annotated[Path | None, output_option("File for mix.yaml.")] = None,
    pessimism: Annotated[
        float,
        typer.Option(
            "--pessimism", metavar="SDS", min=0.0, max=100.0, help="Standard deviations added to a prediction."
        ),
    ] = 1.0,
    json_: JsonOption = False,
    quiet: NoProgressOption = False,
) -> None:
    """Find the best mixture for new evaluation weights.

    From the stored fit alone; nothing is trained.

    \b
    Example: sluice mix solve fit.json --weights weights.yaml --out mix.yaml
    """
    with _mix_work("solving", quiet):
        from mixes import commands

        told = arguments.written(
            out,
            lambda file: commands.solve_weights(
                fit, weights, limits=limits, out=file, pessimism=pessimism, as_json=json_
            ),
        )
    print(told)


@mix_app.command(name="change")
def mix_change(
    fit: FitArgument,
    changes: Annotated[
        Path,
        input_option("--changes", "YAML with the keys added, removed, split and merged (docs/mix.md)."),
    ],
    out: FitOutOption,
    limits: LimitsOption = None,
    quiet: NoProgressOption = False,
) -> None:
    """Fit the old runs again after the sources have changed.

    Sources may have been added, removed, split or merged.

    \b
    Example: sluice mix change fit.json --changes changes.yaml --out changed.json
    """
    with _mix_work("fitting again", quiet) as tick:
        from mixes import commands

        told = arguments.written(out, lambda file: commands.change_sources(fit, changes, file, limits, tick=tick))
    print(told)


@mix_app.command(name="learn")
def mix_learn(
    fit: FitArgument,
    larger: Annotated[
        Path,
        input_option("--larger", "CSV or Parquet of larger runs: `parameters`, sources and metrics, a column each."),
    ],
    out: FitOutOption,
    base_parameters: Annotated[
        int | None,
        typer.Option("--base-parameters", metavar="N", help="Of the fit's own runs, without embedding and head."),
    ] = None,
    target_parameters: Annotated[
        int | None, typer.Option("--target-parameters", metavar="N", help="Of the target, without embedding and head.")
    ] = None,
    quiet: NoProgressOption = False,
) -> None:
    """Learn from larger runs how metrics carry over.

    Differences between mixtures shrink or grow with a model's size: by how much, up to the size of the target.

    \b
    Example: sluice mix learn fit.json --larger larger.csv --out learnt.json
    """
    with _mix_work("learning from larger runs", quiet):
        from mixes import commands

        parameters = {"base_parameters": base_parameters, "target_parameters": target_parameters}
        told = arguments.written(out, lambda file: commands.log_larger(fit, larger, file, **parameters))
    print(told)


def main() -> None:
    """Entry point: errors for the user become one message and an exit status."""
    from pipeline.fetched import told

    try:
        app()
    except SluiceError as error:
        print(f"error: {shown(told(str(error)))}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
