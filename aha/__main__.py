"""The command line: parse, call, exit. Nothing heavy is imported before a command needs it.

Exit codes: 0 ok, 1 error, 2 configuration, 3 does not fit, 130 stopped.
"""

import contextlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from aha import __version__
from aha.command_groups import AsJson, data_app, model_app, sandbox_app
from aha.errors import AhaError

app = typer.Typer(
    help="Grow reasoning in language models: the DeepSeek-R1 recipe as one program.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, group in (("model", model_app), ("data", data_app), ("sandbox", sandbox_app)):
    app.add_typer(group, name=name)

RecipeArgument = Annotated[Path, typer.Argument(help="Recipe file (.toml, .yaml, .json).")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override one field: section.key=value.")
]
MoreOverrides = Annotated[
    list[str] | None, typer.Argument(hidden=True, help="More overrides after --set a.b=c.")
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aha {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks of errors.")] = False,
) -> None:
    pass


@app.command()
def run(
    recipe: RecipeArgument,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STAGE]...", help="Only these stages and what they need."),
    ] = None,
    overrides: Overrides = None,
    redo: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="STAGE",
            help="Run this stage again, and all that is made from it; old results are set aside.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved recipe and the plan, and stop.")
    ] = False,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Set stages of another recipe aside and run them again.")
    ] = False,
) -> None:
    """Run a recipe, or some stages of it. What is done is not done again; what was begun goes on."""
    from aha import config
    from aha.stages import launch

    stages, overrides = _stages_and_overrides(words, overrides)
    loaded = config.load(recipe, overrides)
    root = Path(loaded.run_dir) / loaded.name
    if dry_run:
        from aha.stages import planning

        facts = planning.facts(loaded, stages, root=root, redo=redo or [], timed=True)
        typer.echo(config.to_toml(loaded))
        typer.echo(planning.text(facts))
        return
    launch.run(loaded, root, stage=stages, rerun=rerun, redo=redo or [])


def _stages_and_overrides(
    words: list[str] | None, overrides: list[str] | None
) -> tuple[list[str], list[str]]:
    """`--set a=1 b=2 zero` puts b=2 and zero here: what has a sign is an override."""
    stages = [word for word in words or [] if "=" not in word]
    more = [word for word in words or [] if "=" in word]
    return stages, [*(overrides or []), *more]


@app.command()
def resume(run: Annotated[Path, typer.Argument(help="Run folder.")]) -> None:
    """Go on with a run that was stopped or killed, from its newest whole checkpoint."""
    from aha.stages import launch
    from aha.stages.run_folder import started_in, stored_recipe

    root = run.resolve()
    recipe = stored_recipe(root)
    with contextlib.chdir(started_in(root)):  # relative paths of the recipe mean that folder
        launch.run(recipe, root, stage=None)


@app.command()
def plan(
    recipe: RecipeArgument,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STAGE]...", help="Only these stages and what they need."),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    timed: Annotated[
        bool, typer.Option("--time/--no-time", help="Measure how long a step takes here.")
    ] = True,
) -> None:
    """Say what a recipe needs: stages, tokens, memory, disk, time. Exit code 3: does not fit."""
    from aha import config
    from aha.stages import planning

    stages, overrides = _stages_and_overrides(words, overrides)
    loaded = config.load(recipe, overrides)
    root = Path(loaded.run_dir) / loaded.name
    facts = planning.facts(loaded, stages, root=root, timed=timed)
    typer.echo(json.dumps(facts, indent=2) if as_json else planning.text(facts))


@app.command()
def doctor(
    recipe: Annotated[Path | None, typer.Argument(help="Recipe to check as well.")] = None,
    words: MoreOverrides = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine, the graders and, with a recipe, its model, data and template."""
    from aha import config
    from aha.stages import doctor as checks

    loaded = config.load(recipe, [*(overrides or []), *(words or [])]) if recipe else None
    found = checks.examine(loaded)
    if as_json:
        typer.echo(json.dumps([check.as_dict() for check in found], indent=2, ensure_ascii=False))
    else:
        for check in found:
            typer.echo(check.line())
    if any(check.state == "bad" for check in found):
        raise typer.Exit(1)


@app.command()
def preflight(
    recipe: RecipeArgument,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STAGE]", help="A stage of kind rl; the first one without it."),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Can the model learn from the problems, and if not, why? Exit code 1: it cannot."""
    from aha import config
    from aha.errors import ConfigError
    from aha.stages import preflight as flight

    stages, overrides = _stages_and_overrides(words, overrides)
    if len(stages) > 1:
        raise ConfigError(f"one stage at a time, not {', '.join(stages)}")
    facts, lines = flight.examine(config.load(recipe, overrides), *stages)
    typer.echo(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else "\n".join(lines))
    if facts["verdict"]["state"] == "cannot":
        raise typer.Exit(1)


@app.command()
def sample(
    model: Annotated[str, typer.Argument(help="Model: folder, run, aha:NAME, name or hub id.")],
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", help="Question; repeat for several.")
    ] = None,
    n: Annotated[int, typer.Option(min=1, help="Answers to each question.")] = 1,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.6,
    top_p: Annotated[float, typer.Option(help="Nucleus.")] = 0.95,
    top_k: Annotated[int, typer.Option(min=0, help="0 is off.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Cap on answer tokens.")] = 512,
    template: Annotated[
        str, typer.Option(help="r1-zero, chat, or a template file; raw asks the text as it is.")
    ] = "r1-zero",
    system: Annotated[str, typer.Option(help="System message (chat template only).")] = "",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Ask a model; without --prompt, questions are read from standard input, one a line."""
    from aha.evals import ask

    questions = prompt or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    ask.sample(
        model,
        questions,
        n=n,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        max_tokens=max_tokens,
        template=template,
        system=system,
        seed=seed,
        as_json=as_json,
        echo=typer.echo,
    )


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="Model: folder, run, aha:NAME, name or hub id.")],
    data: Annotated[str, typer.Option(help="Held-out problems: a source, see docs/data.md.")] = (
        "arithmetic"
    ),
    k: Annotated[int, typer.Option("--k", min=1, help="Answers to each problem.")] = 4,
    limit: Annotated[int, typer.Option(min=1, help="Problems, at most.")] = 128,
    temperature: Annotated[float, typer.Option(min=0)] = 0.6,
    top_p: Annotated[float, typer.Option()] = 0.95,
    top_k: Annotated[int, typer.Option(min=0)] = 0,
    max_tokens: Annotated[int, typer.Option(min=1)] = 512,
    template: Annotated[str, typer.Option(help="r1-zero, chat, or a template file.")] = "r1-zero",
    system: Annotated[str, typer.Option(help="System message (chat template only).")] = "",
    suffix: Annotated[str, typer.Option(help="Appended to each question.")] = "",
    answers: Annotated[
        str, typer.Option(help="rl: boxed or <answer> only; all: every form of docs/rewards.md.")
    ] = "rl",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for samples and result.")] = None,
    regrade: Annotated[
        bool, typer.Option("--regrade", help="Grade the answers in --out again, without the model.")
    ] = False,
    gates: Annotated[
        bool,
        typer.Option(
            "--gates", help="Measure what RL needs from a base model instead: docs/base_model.md."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure a model on held-out problems: pass@1 with its interval, pass@k, majority vote."""
    if gates:
        from aha.stages import pretrain_gates

        pretrain_gates.show(model, as_json=as_json, out=out, echo=typer.echo)
        return
    from aha.evals import ask

    ask.evaluate(
        model,
        data,
        k=k,
        limit=limit,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        max_tokens=max_tokens,
        template=template,
        system=system,
        suffix=suffix,
        answers=answers,
        seed=seed,
        out=out,
        regrade=regrade,
        as_json=as_json,
        echo=typer.echo,
    )


@app.command()
def grade(
    file: Annotated[Path, typer.Argument(help="JSONL(.gz): {gold, response[, kind]} a line.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON line a case, in order.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Grader processes.")] = 2,
    seconds: Annotated[float, typer.Option(min=0.1, help="Deadline of one case.")] = 2.0,
    sandbox: Annotated[
        str, typer.Option(help="Where programs run: auto, bwrap, landlock.")
    ] = "auto",
    against: Annotated[
        str,
        typer.Option(
            help="Judge twice and show where the two disagree: another kind, or FILE.py:FUNCTION."
        ),
    ] = "",
) -> None:
    """Grade answers from a file. Kinds: math (default), exact, choice, code, ...; docs/rewards.md."""
    from aha.report import grading
    from aha.rewards.grade_file import grade_file

    rows = grade_file(file, workers=workers, seconds=seconds, sandbox=sandbox, against=against)
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
    else:
        for line in grading.table(rows, disagreements=bool(against)):
            typer.echo(line)


@app.command()
def cost(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    price: Annotated[
        float | None, typer.Option(min=0, help="Of an hour; else the recipe's price_per_hour.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what each stage took: time, processor, tokens, memory, and its price, over all attempts."""
    from aha.stages import cost as costs
    from aha.stages.run_folder import stored_recipe

    recipe = stored_recipe(run)
    if price is not None:
        recipe = recipe.model_copy(update={"price_per_hour": price})
    facts = costs.of_run(run, recipe)
    typer.echo(json.dumps(facts, indent=2) if as_json else "\n".join(costs.lines(facts)))


@app.command("hash")
def hash_(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the sha256 of every file.")
    ] = False,
) -> None:
    """Hash what a run made: two runs of one recipe and seed agree to the byte, volatile numbers apart."""
    from aha.stages import artefacts

    typer.echo(
        json.dumps(artefacts.hashes(run), indent=2) if as_json else "\n".join(artefacts.lines(run))
    )


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="One run folder, or two to four to compare.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page.")] = Path("report.html"),
) -> None:
    """One page that shows what each stage of a run did: curves, measures, answers. Needs no network."""
    from aha.report.page import report as make

    make(runs, out)
    typer.echo(str(out))


@app.command()
def measures(
    runs: Annotated[
        list[Path], typer.Argument(help="One run folder, or several seeds of one recipe.")
    ],
    brief: Annotated[bool, typer.Option("--brief", help="Without languages and details.")] = False,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print every number, one a line.")] = False,
) -> None:
    """What each stage did: the stage x measure table. Of several seeds the mean and the range."""
    from aha.stages import measure_table

    measure_table.show_runs(runs, as_json=as_json, as_csv=as_csv, brief=brief, echo=typer.echo)


INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit the process with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given or os.environ.get("AHA_DEBUG") == "1"
    given = [word for word in given if word != "--debug"]
    sys.exit(_run(given, debug))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        app(args=arguments)
        return 0
    except SystemExit as ended:  # usage errors are shown by typer
        code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
        if code == INTERRUPTED:  # typer ends so on Ctrl-C, without a word
            print("aha: interrupted; go on with `aha resume RUN`", file=sys.stderr)
        return code
    except AhaError as error:
        if debug:
            traceback.print_exc()
        print(f"aha: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone; nothing can be said
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
            return 1
        with tempfile.NamedTemporaryFile(
            "w", prefix="aha-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            traceback.print_exc(file=log)
        print(
            f"aha: unexpected {type(error).__name__}: {error}\n"
            f"     This is a mistake in aha. The traceback is in {log.name}; --debug prints it.",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    main()
