"""Asking a finished model: `aha sample` and `aha eval`, on the same engine as training."""

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aha.config import DataConfig, EvalConfig, ModelConfig
from aha.data import sources, templates
from aha.data.lengths import render_all
from aha.errors import ConfigError, RunError
from aha.evals import run as evals
from aha.models.locate import locate
from aha.records import Prompt
from aha.rewards.workers import GraderPool
from aha.rollout.engine import SamplingParams

Echo = Callable[[str], None]


def sample(
    model: str,
    questions: Sequence[str],
    *,
    n: int,
    temperature: float,
    top_p: float,
    top_k: int,
    max_tokens: int,
    template: str,
    system: str,
    seed: int,
    as_json: bool,
    echo: Echo,
) -> None:
    """Print `n` answers to each question as they end.

    Raises:
        ConfigError: no question, or a sampler that cannot be.
        ModelError: the model cannot be used.
    """
    if not questions:
        raise ConfigError("no question: give --prompt TEXT, or lines on standard input")
    _check_sampler(temperature, top_p, top_k)
    raw = template == "raw"
    engine, loaded = engine_of(model)
    config = DataConfig(template="r1-zero" if raw else template, system=system)
    used = templates.load_template(config, loaded.tokenizer, generation_eos=loaded.eos_ids)
    params = SamplingParams(
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        stop=() if raw else used.stop,
        stream=(seed, "sample"),
    )
    prefill: dict[str, str] = {}
    for number, question in enumerate(questions):
        name = f"{number}"
        if raw:
            ids: Sequence[int] = loaded.tokenizer.encode(question)
        else:
            rendered = used.render(Prompt(id=name, question=question, gold=""))
            ids, prefill[name] = rendered.token_ids, rendered.prefill
        if not ids:
            raise ConfigError(f"question {number + 1} is empty")
        engine.submit(name, ids, n, params)
    while engine.pending():
        for rollout in engine.step():
            question = questions[int(rollout.prompt_id)]
            if as_json:
                row = {
                    "question": question,
                    "sample": rollout.sample,
                    "text": prefill.get(rollout.prompt_id, "") + rollout.text,
                    "tokens": len(rollout.token_ids),
                    "stopped": rollout.stopped,
                    "logprob": sum(rollout.logprobs),
                }
                echo(json.dumps(row, ensure_ascii=False))
            else:
                from aha.report.lines import clean

                head = (
                    f"── {clean(question, lines=False)[:60]} · answer {rollout.sample + 1} of {n}"
                )
                tail = f"({len(rollout.token_ids)} tokens, ended by {rollout.stopped})"
                echo(f"{head} {tail}\n{clean(prefill.get(rollout.prompt_id, '') + rollout.text)}")


def evaluate(
    model: str,
    data: str,
    *,
    k: int,
    limit: int,
    temperature: float,
    top_p: float,
    top_k: int,
    max_tokens: int,
    template: str,
    system: str,
    suffix: str,
    answers: str,
    seed: int,
    out: Path | None,
    regrade: bool,
    as_json: bool,
    echo: Echo,
) -> None:
    """Measure a model on held-out problems and print the result; samples stay in `out`."""
    if answers not in ("rl", "all"):
        raise ConfigError(f"--answers {answers}: write rl or all")
    _check_sampler(temperature, top_p, top_k)
    with GraderPool(workers=2) as graders:
        if regrade:
            if out is None or not (out / "result.json").is_file():
                raise ConfigError("--regrade needs --out FOLDER of a finished evaluation")
            show(evals.regrade(out, graders, mode=answers), out, as_json, echo)
            return
        settings = DataConfig(heldout=data, template=template, system=system, suffix=suffix)
        problems = sources.load(data, split="heldout", config=settings)
        config = EvalConfig(
            problems=limit,
            samples=k,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            max_answer_tokens=max_tokens,
        )
        folder = out or Path(tempfile.mkdtemp(prefix="aha-eval-"))
        result = measure(
            engine_of(model),
            problems.prompts,
            settings,
            config,
            graders,
            folder=folder,
            answers=answers,
            seed=seed,
        )
    show(result, folder, as_json, echo)


def measure(
    model: tuple[Any, Any],
    prompts: Sequence[Prompt],
    settings: DataConfig,
    config: EvalConfig,
    graders: GraderPool,
    *,
    folder: Path,
    answers: str,
    seed: int,
) -> evals.Result:
    """Ask a loaded model (`engine_of`) the first `config.problems` problems of `settings.heldout`.

    Samples and result stay in `folder`. On a terminal, standard error counts the answers.
    """
    engine, loaded = model
    used = templates.load_template(settings, loaded.tokenizer, generation_eos=loaded.eos_ids)
    asked = prompts[: config.problems]
    questions, dropped = render_all(used, asked, settings.max_prompt_tokens)
    if dropped:
        print(f"{len(dropped)} problems are too long or refused: left out", file=sys.stderr)
    cap, total = config.max_answer_tokens, len(questions) * config.samples
    receipt = evals.receipt(config, template_hash=used.hash, cap=cap, mode=answers, seed=seed)

    def progress(done: int, tokens: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done}/{total} answers", end="", file=sys.stderr)

    result = evals.evaluate(
        engine,
        graders,
        questions,
        config,
        folder=folder,
        receipt=receipt | {"data": settings.heldout},
        stop=used.stop,
        weights=str(loaded.folder),
        progress=progress,
    )
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return result


def show(result: evals.Result, folder: Path, as_json: bool, echo: Echo) -> None:
    """The numbers, then the receipt: without it they mean nothing."""
    if as_json:
        facts = {"numbers": result.numbers, "by": result.by, "receipt": result.receipt}
        echo(json.dumps(facts | {"folder": str(folder)}, indent=2, ensure_ascii=False))
        return
    n = result.numbers
    echo(
        f"pass@1    {n['pass_at_1']:.1%}  95 % interval [{n['pass_at_1_low']:.1%}, "
        f"{n['pass_at_1_high']:.1%}] over {n['problems']} problems x {n['k']} answers"
    )
    for name in sorted((x for x in n if x.startswith("pass_at_") and x[8:].isdigit()), key=_number):
        if name != "pass_at_1":
            echo(f"pass@{name[8:]:<4} {n[name]:.1%}")
    echo(f"cons@{n['k']:<4} {n['cons_at_k']:.1%}")
    echo(
        f"cut {n['cut_share']:.1%}  unparsed {n['unparsed_share']:.1%}  grader failed "
        f"{n['grader_failed_share']:.1%}  mean {n['tokens_mean']:.1f} tokens"
    )
    for key, table in result.by.items():
        for value, row in table.items():
            echo(f"  {key} {value:<12} {row['pass_at_1']:.1%}  ({row['problems']:.0f} problems)")
    said = " ".join(f"{key}={value}" for key, value in result.receipt.items())
    echo(f"receipt   {said}\nsamples   {folder / 'samples.jsonl'}")


def _number(name: str) -> int:
    return int(name[8:])


def _check_sampler(temperature: float, top_p: float, top_k: int) -> None:
    if temperature < 0 or not 0 < top_p <= 1 or top_k < 0:
        raise ConfigError(
            f"temperature {temperature}, top-p {top_p}, top-k {top_k}: needs temperature >= 0, "
            "0 < top-p <= 1, top-k >= 0"
        )


def engine_of(model: str) -> tuple[Any, Any]:
    """Engine and loaded model (`models.load`) of anything that `locate` knows."""
    folder = locate(model)
    from aha.models import load as models
    from aha.rollout.local.engine import LocalEngine
    from aha.train.memory import available_memory

    loaded = models.load(folder, ModelConfig(path=model))
    if not loaded.eos_ids:
        raise RunError(f"{model}: no end-of-sequence token in its generation config or tokenizer")
    budget = int(available_memory(next(loaded.policy.parameters()).device.type) * 0.5)
    engine = LocalEngine(
        loaded.policy,
        eos_ids=loaded.eos_ids,
        decode=models.decoder(loaded.tokenizer),
        budget_bytes=budget,
    )
    return engine, loaded
