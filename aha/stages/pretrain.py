"""Stage `pretrain`: the embedded base model, from random weights on the generated corpus.

    corpus (aha/data/corpus.py) -> tokenizer -> rows of `context` tokens -> AdamW -> HF folder

The base of the recipe (DeepSeek-R1 starts from DeepSeek-V3-Base), at a size for two CPU cores.
Rows are cut from one stream of documents; attention crosses from a document into the next within a
row (see aha/data/corpus_rows.py). Weights and moments are float32; matrix products bfloat16 by default
(1.3 times as fast on one Zen 5 core), and attention is plain matrix products (a step with the fused
kernel took 1.1 to 1.8 times as long there).

A stopped or killed run continues from its newest whole checkpoint with the same bytes (CPU, same
thread count): weights, moments, router biases, step and data cursor are kept.

Folder: `metrics.jsonl`, `tokenizer/`, `checkpoints/step_N/`, and `model/`, the result.
"""

import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast

from aha.config import PretrainConfig, Recipe
from aha.data import corpus
from aha.data.corpus_rows import RowStream
from aha.errors import ConfigError, RunError, Stopped
from aha.files import new_folder, sha256, verify, write_json
from aha.models.architecture import Balance, build
from aha.models.tokenizer import train_tokenizer
from aha.report.metrics import MetricsFile
from aha.stages.pretrain_gates import gates
from aha.stages.run_folder import commit
from aha.tally import TALLY
from aha.train.checkpoint import newest, prune, save_tensors, step_name
from aha.train.optim import Optimizer

KEEP = 2
"""Newest checkpoints kept."""
BIAS_STOPS = 0.9
"""Share of the steps after which router biases stay (DeepSeek-V3: 0 for the last 500B of 14.8T)."""


def run(
    recipe: Recipe,
    folder: Path,
    *,
    stop: Callable[[], bool] | None = None,
    log: Callable[[dict[str, Any]], None] | None = None,
    measure: bool = True,
    describe: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Pretrain into `folder`; return its `model` folder. Done work is not done again.

    Args:
        stop: asked after each step; True saves a checkpoint and ends with `Stopped`.
        log: gets each metrics line.
        measure: measure the gates (aha/stages/pretrain_gates.py) into provenance.json: a minute.
        describe: writes lineage and card into the model folder, whose weights are there.

    Raises:
        ConfigError: no [pretrain] table, or numbers that do not fit.
        RunError: the loss is not a number; a checkpoint cannot be used.
        Stopped: `stop` said so; the same call continues.
    """
    config = recipe.pretrain
    if config is None:
        raise ConfigError("the recipe has no [pretrain] table")
    if config.batch_tokens % config.context:
        raise ConfigError(
            f"pretrain.batch_tokens={config.batch_tokens} is not a multiple of "
            f"pretrain.context={config.context}; a step is made of whole rows"
        )
    result = folder / "model"
    if result.exists() and verify(result) is None:
        return result
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(config, recipe.seed, folder / "tokenizer")
    trainer = Trainer(config, recipe.seed, tokenizer)
    trainer.resume(folder / "checkpoints")
    metrics = MetricsFile(folder / "metrics.jsonl")
    attempt = 1 + max((row["attempt"] for row in metrics.rows()), default=0)
    metrics.truncate_after(trainer.step if trainer.step else -1)
    with trainer.balance:
        while trainer.step < trainer.steps:
            row = metrics.append(trainer.step + 1, trainer.update(), attempt=attempt)
            if log:
                log(row)
            stopping = stop is not None and stop()
            last = trainer.step == trainer.steps
            if last or stopping or trainer.step % config.checkpoint_every == 0:
                trainer.save(folder / "checkpoints")
            if stopping and not last:
                raise Stopped(
                    f"pretraining stopped after step {trainer.step} of {trainer.steps} and saved; "
                    "the same command continues"
                )
    trainer.model.eval()
    facts: dict[str, Any] = {"loss_at_the_end": last_losses(metrics.rows())}
    if measure:
        with tempfile.TemporaryDirectory() as aside:
            _save(trainer.model, tokenizer, Path(aside))
            facts["gates"] = gates(aside)
            facts["gates"]["receipt"]["weights"] = "model"  # not the folder that was made for it
    _export(recipe, trainer, tokenizer, result, facts, describe)
    return result


def last_losses(rows: Sequence[Mapping[str, Any]], steps: int = 200) -> dict[str, float]:
    """Mean loss, nats a token, of the last steps: of all documents (`all`) and by kind."""
    table = {}
    for name in ("pretrain/loss", *(f"pretrain/loss/{kind}" for kind in corpus.KINDS)):
        found = [row[name] for row in rows[-steps:] if row.get(name) is not None]
        if found:
            kind = name.removeprefix("pretrain/loss").removeprefix("/")
            table[kind or "all"] = round(sum(found) / len(found), 4)
    return table


def _tokenizer(config: PretrainConfig, seed: int, folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of this run: trained once, then read."""
    if not folder.exists() or verify(folder) is not None:
        texts = [corpus.document(seed, i) for i in range(config.corpus_documents)]
        with new_folder(folder) as aside:
            train_tokenizer(texts, config.vocab_size).save_pretrained(aside)
    return PreTrainedTokenizerFast.from_pretrained(folder)


class Trainer:
    """Model, optimizer, data and step of one pretraining run."""

    def __init__(
        self, config: PretrainConfig, seed: int, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        self.config = config = config.model_copy(update={"vocab_size": len(tokenizer)})
        pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
        self.model = build(config, seed=seed, pad=pad, eos=eos).train()
        self.model.set_attn_implementation("eager")
        self.named = dict(self.model.named_parameters())  # tied weights once
        self.balance = Balance(self.model)
        self.rows = RowStream(
            document=partial(corpus.labelled, seed),
            encode=lambda texts: tokenizer(texts)["input_ids"],
            eos=eos,
            context=config.context,
            kinds=tuple(corpus.KINDS),
        )
        self.steps = math.ceil(config.tokens / config.batch_tokens)
        self.optimizer = Optimizer(self.model, config.optim, self.steps)
        self.step = 0

    def update(self) -> dict[str, float | None]:
        """One optimizer step; its metrics."""
        started = time.perf_counter()
        config = self.config
        tokens, kinds = map(torch.tensor, self.rows.take(config.batch_tokens // config.context))
        with torch.autocast("cpu", torch.bfloat16, enabled=config.dtype == "bfloat16"):
            losses = next_token_loss(self.model, tokens)
        loss = losses.mean()
        balance = self.balance.loss(len(tokens))
        (loss + config.balance_coef * balance).backward()
        norm, lr, made = self.optimizer.step(self.step)
        if not made:
            raise RunError(
                f"pretraining diverged at step {self.step + 1}: loss {float(loss.detach())}, "
                f"gradient norm {norm}; lower pretrain.optim.lr={config.optim.lr}"
            )
        load = self.balance.load()
        moving = self.step < BIAS_STOPS * self.steps
        self.balance.step(config.bias_rate if moving else 0.0)
        self.step += 1
        TALLY.trained += config.batch_tokens
        return {
            "pretrain/loss": float(loss.detach()),
            **self._by_kind(losses.detach(), kinds[:, 1:]),
            "pretrain/expert_load/max": float(load.max()) if self.balance.routers else None,
            "pretrain/tokens/sum": config.batch_tokens,
            "optim/lr": lr,
            "optim/grad_norm": norm,
            "rate/update_tokens_per_s": config.batch_tokens / (time.perf_counter() - started),
        }

    def _by_kind(self, losses: Tensor, kinds: Tensor) -> dict[str, float | None]:
        """Mean loss of the tokens of each kind of document; None where a batch has none."""
        sums = torch.zeros(len(self.rows.kinds)).index_add_(0, kinds.flatten(), losses.flatten())
        counts = torch.bincount(kinds.flatten(), minlength=len(self.rows.kinds))
        return {
            f"pretrain/loss/{kind}": float(sums[i] / counts[i]) if counts[i] else None
            for i, kind in enumerate(self.rows.kinds)
        }

    def biases(self) -> dict[str, Tensor]:
        """Router biases by name: state that is no parameter."""
        return {k: v for k, v in self.model.named_buffers() if k.endswith("correction_bias")}

    def save(self, parent: Path) -> None:
        """Write `step_N` under `parent`, whole or not at all; older ones go."""
        with new_folder(parent / step_name(self.step)) as aside:
            save_tensors(aside / "optimizer.safetensors", self.optimizer.state() | self.biases())
            write_json(aside / "state.json", {"step": self.step, "rows": self.rows.cursor()})
        prune(parent, keep_last=KEEP, best_step=-1)

    def resume(self, parent: Path) -> None:
        """Continue from the newest whole checkpoint, if any.

        Raises:
            RunError: there are checkpoints, and none is whole.
        """
        damaged: list[str] = []
        whole = newest(parent, warn=damaged.append)
        if whole is None:
            if damaged:
                raise RunError(f"{'; '.join(damaged)}. Delete {parent} to start over")
            return
        tensors = load_file(whole / "optimizer.safetensors")
        self.optimizer.load_state(tensors)
        for name, bias in self.biases().items():
            bias.copy_(tensors[name])
        state = json.loads((whole / "state.json").read_text("utf-8"))
        self.step = state["step"]
        self.rows.seek(state["rows"])
        # the attempt before may have been killed at it
        prune(parent, keep_last=KEEP, best_step=-1, step=self.step)


def next_token_loss(model: Any, tokens: Tensor) -> Tensor:
    """[B, T-1]: cross-entropy, nats, of tokens[:, 1:] given what is before. tokens [B, T] int64."""
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[:, :-1])
    targets = tokens[:, 1:]
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return losses.view(targets.shape)


def _save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """An HF folder: one safetensors file, tokenizer with chat template."""
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
    )
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # written for its owner alone
    tokenizer.save_pretrained(folder)


def _export(
    recipe: Recipe,
    trainer: Trainer,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    facts: dict[str, Any],
    describe: Callable[[Path], None],
) -> None:
    """The model folder with its provenance."""
    with new_folder(folder) as aside:
        _save(trainer.model, tokenizer, aside)
        describe(aside)
        write_json(
            aside / "provenance.json",
            {
                "stage": "pretrain",
                "recipe": recipe.model_dump(include={"name", "seed", "threads", "pretrain"}),
                "corpus": f"aha/data/corpus.py, version {corpus.VERSION}, seed {recipe.seed}",
                "documents": trainer.rows.next_document,
                "tokens": trainer.step * trainer.config.batch_tokens,
                "parameters": sum(p.numel() for p in trainer.named.values()),
                "threads": torch.get_num_threads(),
                "commit": commit(),
                "torch": torch.__version__,
                **facts,
                "sha256": {"model.safetensors": sha256(aside / "model.safetensors")},
            },
        )
