"""Stage `pretrain`: the embedded base model, from random weights on the generated corpus.

    corpus (aha/data/corpus.py) -> tokenizer -> rows of `context` tokens -> AdamW -> HF folder

The base of the recipe (DeepSeek-R1 starts from DeepSeek-V3-Base), at a size for two CPU cores.
Rows are cut from one stream of documents; attention crosses from a document into the next within a
row (see aha/data/corpus_rows.py). Everything is float32.

A stopped or killed run continues from its newest whole checkpoint with the same bytes (CPU, same
thread count): weights, moments, router biases, step and data cursor are kept.

Folder: `metrics.jsonl`, `tokenizer/`, `checkpoints/step_N/`, and `model/`, the result.
"""

import json
import math
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedTokenizerFast

from aha.config import OptimConfig, PretrainConfig, Recipe
from aha.data import corpus
from aha.data.corpus_rows import RowStream
from aha.errors import ConfigError, RunError, Stopped
from aha.files import json_line, new_folder, read_jsonl, sha256, verify, write_json, write_jsonl
from aha.models.architecture import Balance, build
from aha.models.tokenizer import train_tokenizer
from aha.stages.pretrain_gates import gates

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
) -> Path:
    """Pretrain into `folder`; return its `model` folder. Done work is not done again.

    Args:
        stop: asked after each step; True saves a checkpoint and ends with `Stopped`.
        log: gets each metrics line.
        measure: measure the gates (aha/stages/pretrain_gates.py) into provenance.json: a minute.

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
    attempt = trainer.resume(folder)
    started = time.monotonic()
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as metrics, trainer.balance:
        while trainer.step < trainer.steps:
            line = {**trainer.update(), "attempt": attempt}
            metrics.write(json_line(line) + "\n")
            metrics.flush()
            if log:
                log(line)
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
    facts = {
        "wall_s_last_attempt": round(time.monotonic() - started, 1),
        "gates": gates(trainer.model, tokenizer) if measure else None,
    }
    _export(recipe, trainer, tokenizer, result, facts)
    return result


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
        self.named = dict(self.model.named_parameters())  # tied weights once
        self.optimizer = _adamw(self.named, config.optim)
        self.balance = Balance(self.model)
        self.rows = RowStream(
            document=partial(corpus.document, seed),
            encode=lambda texts: tokenizer(texts)["input_ids"],
            eos=eos,
            context=config.context,
        )
        self.steps = math.ceil(config.tokens / config.batch_tokens)
        self.step = 0

    def update(self) -> dict[str, Any]:
        """One optimizer step; its metrics line."""
        started = time.perf_counter()
        config = self.config
        lr = learning_rate(config.optim, self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        tokens = torch.tensor(self.rows.take(config.batch_tokens // config.context))
        loss = next_token_loss(self.model, tokens)
        balance = self.balance.loss(len(tokens))
        (loss + config.balance_coef * balance).backward()
        norm = nn.utils.clip_grad_norm_(self.named.values(), config.optim.grad_clip)
        if not math.isfinite(float(norm)):
            raise RunError(
                f"pretraining diverged at step {self.step + 1}: loss {float(loss.detach())}, "
                f"gradient norm {float(norm)}; lower pretrain.optim.lr={config.optim.lr}"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        load = self.balance.load()
        moving = self.step < BIAS_STOPS * self.steps
        self.balance.step(config.bias_rate if moving else 0.0)
        self.step += 1
        return {
            "step": self.step,
            "pretrain/loss": float(loss.detach()),
            "pretrain/expert_load/max": float(load.max()),
            "pretrain/tokens/sum": config.batch_tokens,
            "optim/lr": lr,
            "optim/grad_norm": float(norm),
            "rate/update_tokens_per_s": config.batch_tokens / (time.perf_counter() - started),
        }

    def weights(self) -> dict[str, Tensor]:
        """Parameters and router biases by name."""
        biases = {k: v for k, v in self.model.named_buffers() if k.endswith("correction_bias")}
        return {**{name: p.detach() for name, p in self.named.items()}, **biases}

    def save(self, parent: Path) -> None:
        """Write `step_N` under `parent`, whole or not at all; older ones go."""
        moments = {}
        for name, parameter in self.named.items():
            for key, value in self.optimizer.state[parameter].items():
                moments[f"{name}:{key}"] = value
        with new_folder(parent / f"step_{self.step:06d}") as aside:
            # One metadata key: with more, the bytes differ between processes.
            save_file(self.weights(), aside / "model.safetensors", {"format": "pt"})
            save_file(moments, aside / "optimizer.safetensors", {"format": "pt"})
            write_json(aside / "state.json", {"step": self.step, "rows": self.rows.cursor()})
        for old in sorted(parent.glob("step_*[0-9]"))[:-KEEP]:
            shutil.rmtree(old)

    def resume(self, folder: Path) -> int:
        """Continue from the newest whole checkpoint, if any; the number of this attempt from 0."""
        path = folder / "metrics.jsonl"
        lines = read_jsonl(path) if path.exists() else []
        attempt = 1 + max((line["attempt"] for line in lines), default=-1)
        saved = sorted((folder / "checkpoints").glob("step_*[0-9]"), reverse=True)
        whole = next((place for place in saved if verify(place) is None), None)
        if saved and whole is None:
            raise RunError(
                f"{saved[0]}: {verify(saved[0])}; delete {saved[0].parent} to start over"
            )
        if whole is not None:
            state = json.loads((whole / "state.json").read_text("utf-8"))
            weights = load_file(whole / "model.safetensors")
            with torch.no_grad():
                for name, here in self.weights().items():
                    here.copy_(weights[name])
            for key, value in load_file(whole / "optimizer.safetensors").items():
                name, _, field = key.rpartition(":")
                # Loaded tensors may be unaligned, which changes the last bits of sums.
                self.optimizer.state[self.named[name]][field] = value.clone()
            self.step = state["step"]
            self.rows.seek(state["rows"])
        write_jsonl(path, [line for line in lines if line["step"] <= self.step])
        return attempt


def next_token_loss(model: Any, tokens: Tensor) -> Tensor:
    """Mean cross-entropy, nats, of tokens[:, 1:] given what is before. tokens [B, T] int64."""
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def learning_rate(optim: OptimConfig, step: int, steps: int) -> float:
    """Of optimizer step number `step`, from 0: linear warm-up, then the schedule to the end."""
    if step < optim.warmup_steps:
        return optim.lr * (step + 1) / optim.warmup_steps
    done = (step - optim.warmup_steps) / max(1, steps - optim.warmup_steps)
    left = {
        "constant": 1.0,
        "linear": 1.0 - done,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * done)),
    }[optim.schedule]
    floor = 1.0 if optim.schedule == "constant" else optim.min_lr_share
    return optim.lr * (floor + (1.0 - floor) * left)


def _adamw(named: dict[str, nn.Parameter], optim: OptimConfig) -> torch.optim.AdamW:
    """AdamW; only matrices decay, not norms and embeddings."""
    decays = {n for n, p in named.items() if p.ndim >= 2 and "embed" not in n}
    groups: list[dict[str, Any]] = [
        {"params": [p for n, p in named.items() if n in decays]},
        {"params": [p for n, p in named.items() if n not in decays], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=optim.lr,
        betas=(optim.beta1, optim.beta2),
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        fused=True,
    )


def _export(
    recipe: Recipe,
    trainer: Trainer,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    facts: dict[str, Any],
) -> None:
    """The HF folder: one safetensors file, tokenizer with chat template, provenance."""
    model = trainer.model
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
    )
    with new_folder(folder) as aside:
        model.save_pretrained(aside)
        (aside / "model.safetensors").chmod(0o644)  # written for its owner alone
        tokenizer.save_pretrained(aside)
        write_json(
            aside / "provenance.json",
            {
                "stage": "pretrain",
                "recipe": recipe.model_dump(exclude={"zero"}),
                "corpus": f"aha/data/corpus.py, version {corpus.VERSION}, seed {recipe.seed}",
                "documents": trainer.rows.next_document,
                "tokens": trainer.step * trainer.config.batch_tokens,
                "parameters": sum(p.numel() for p in trainer.named.values()),
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
                **facts,
                "sha256": {"model.safetensors": sha256(aside / "model.safetensors")},
            },
        )
