"""TRL's GRPOTrainer as a contestant: its own training loop, stopped at the end of each step.

Its path is left as it is, three things added from outside:
- a logits processor that forbids end-of-sequence until an answer has its length, and forces it then
  (TRL counts that token, so lengths are equal to ours);
- a callback that waits for the next request at the end of a step, so that a round is one whole cycle
  of the loop: data, generation, rewards, micro-batches, optimizer, log;
- for the update half alone, recorded answers in place of generated ones.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from transformers import LogitsProcessor, LogitsProcessorList, TrainerCallback
from trl.rewards import accuracy_reward

from benchmarks import measure, workers
from benchmarks.work import Work, of_dict, token_reward

STEPS = 100_000


class Lengths(LogitsProcessor):
    """Row i ends with end-of-sequence as its lengths[i]-th new token."""

    def __init__(self, eos: Sequence[int]) -> None:
        self.eos = list(eos)
        self.prompt, self.lengths = 0, torch.zeros(0, dtype=torch.long)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        done = input_ids.shape[1] - self.prompt
        scores[:, self.eos] = -torch.inf
        ends = torch.eq(self.lengths, done + 1)
        if ends.any():
            scores[ends] = -torch.inf
            scores[ends, self.eos[0]] = 0.0
        return scores


class Stop(Exception):
    """The asking side is done."""


class Trl(TrainerCallback):
    """The state of the worker, and the callback that holds its loop."""

    def __init__(self) -> None:
        self.channel = workers.Channel()
        self.flat: frozenset[str] = frozenset()
        self.spent: dict[str, float] = {}
        self.recorded: list[list[int]] | None = None
        self.asked: Work
        self.began = 0.0

    def run(self) -> None:
        """Wait for `load`, then train; every later request is met inside of training."""
        request = self.channel.read()
        while request["what"] != "load":
            if request["what"] == "quit":
                return
            self.channel.answer(error=f"{request['what']!r} before load")
            request = self.channel.read()
        request.pop("what")
        try:
            self.load(**request)
            self.trainer.train()
        except Stop:
            return
        except Exception as error:
            import traceback

            traceback.print_exc()
            self.channel.answer(error=f"{type(error).__name__}: {str(error)[:500]}")

    def load(
        self,
        model: str,
        work: dict[str, Any],
        settings: dict[str, Any],
        lr: float = 1e-6,
    ) -> None:
        """Make the trainer; `settings` are those of GRPOConfig over what every comparison fixes."""
        torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
        torch.manual_seed(0)
        self.asked = asked = of_dict(work)
        answers = len(asked.lengths[0])
        rows = [
            {"prompt": text, "solution": gold, "number": str(i)}
            for i, (text, gold) in enumerate(zip(asked.texts, asked.golds, strict=True))
        ]
        size = settings["per_device_train_batch_size"]
        if asked.answers % size:
            raise ValueError(f"{asked.answers} answers are no whole number of batches of {size}")
        self.folder = tempfile.TemporaryDirectory()
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        config = trl.GRPOConfig(
            **{
                "output_dir": self.folder.name,
                "use_cpu": True,
                "max_steps": STEPS,
                "num_generations": answers,
                "gradient_accumulation_steps": asked.answers // size,
                "max_completion_length": asked.longest,
                "learning_rate": lr,
                "lr_scheduler_type": "constant",
                "adam_beta2": 0.999,
                "reward_weights": [1.0, 0.0],
                "shuffle_dataset": False,
                "report_to": "none",
                "save_strategy": "no",
                "disable_tqdm": True,
                "seed": 0,
                **settings,
            }
        )
        self.trainer = trl.GRPOTrainer(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(rows * (1 + 200 // len(rows))),
            processing_class=tokenizer,
            reward_funcs=[self._tokens, self._accuracy],
            callbacks=[self],
        )
        eos = list(self.trainer.eos_token_ids)
        self.processor = Lengths(eos)
        self._hold()

    def _hold(self) -> None:
        """Put the processor and the clocks around generation, without changing what it does."""
        model, trainer = self.trainer.model, self.trainer
        generate, single = model.generate, trainer._generate_single_turn

        def clocked(*args: Any, **kwargs: Any) -> Any:
            ids = kwargs["input_ids"]
            self.processor.prompt = ids.shape[1]
            kwargs["logits_processor"] = LogitsProcessorList([self.processor])
            start = time.perf_counter()
            out = generate(*args, **kwargs)
            self._add("generate_s", start)
            return out

        def turn(prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
            wanted = [
                list(ids)
                for ids, group in zip(self.asked.prompts, self.asked.lengths, strict=True)
                for _ in group
            ]
            if [list(ids) for ids in prompt_ids] != wanted:
                raise RuntimeError("TRL's prompt ids are not the ones that were asked")
            if self.recorded is not None:
                return [list(ids) for ids in self.recorded], None
            found, logprobs = single(prompt_ids, *args, **kwargs)
            if [len(ids) for ids in found] != self.processor.lengths.tolist():
                raise RuntimeError("answers do not have the lengths that were asked")
            return found, logprobs

        model.generate = clocked
        trainer._generate_single_turn = turn

    def _add(self, name: str, start: float) -> None:
        self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - start

    def _tokens(
        self, completion_ids: list[list[int]], number: list[str], **_: Any
    ) -> list[float | None]:
        pairs = zip(completion_ids, number, strict=True)
        return [0.0 if n in self.flat else token_reward(ids) for ids, n in pairs]

    def _accuracy(
        self, completions: list[str], solution: list[str], **_: Any
    ) -> list[float | None]:
        start = time.perf_counter()
        said = [[{"role": "assistant", "content": text}] for text in completions]
        found = accuracy_reward(said, [f"${gold}$" for gold in solution])
        self._add("rewards_s", start)
        return found

    # -- the loop's callbacks ---------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.channel.answer(
            versions=measure.versions(),
            threads=torch.get_num_threads(),
            settings={
                "bf16": args.bf16,
                "gradient_checkpointing": args.gradient_checkpointing,
                "dtype": str(next(self.trainer.model.parameters()).dtype),
                "per_device_train_batch_size": args.per_device_train_batch_size,
                "gradient_accumulation_steps": args.gradient_accumulation_steps,
                "loss_type": args.loss_type,
                "beta": args.beta,
                "optim": str(args.optim),
                "attention": self.trainer.model.config._attn_implementation,
                "experts": getattr(self.trainer.model.config, "_experts_implementation", None),
            },
        )
        self._next()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        seconds = time.perf_counter() - self.began
        self.channel.answer(seconds=seconds, **self.spent, peak_rss=workers.peak_rss())
        workers.trim()
        self._next()

    def _next(self) -> None:
        """Take requests; go on with the loop when one asks for a step."""
        while True:
            request = self.channel.read()
            what = request.pop("what")
            if what == "quit":
                raise Stop
            try:
                if what == "gradient":
                    self.channel.answer(**self.gradient(**request), peak_rss=workers.peak_rss())
                    continue
                if what not in ("step", "update"):
                    raise ValueError(f"unknown request {what!r}")
                asked = of_dict(request["work"])
                if asked.prompts != self.asked.prompts:
                    raise ValueError("the prompts are not those of load")
            except Exception as error:
                import traceback

                traceback.print_exc()
                self.channel.answer(error=f"{type(error).__name__}: {str(error)[:500]}")
                continue
            self.asked = asked
            lengths = [n for group in asked.lengths for n in group]
            self.processor.lengths = torch.tensor(lengths)
            self.trainer.generation_config.max_new_tokens = asked.longest
            self.flat = frozenset(str(n) for n in request.get("flat", ()))
            self.recorded = request["token_ids"] if what == "update" else None
            self.spent = {}
            workers.reset_peak()
            torch.manual_seed(request.get("round", 0))
            self.began = time.perf_counter()
            return

    def gradient(
        self,
        work: dict[str, Any],
        token_ids: Sequence[Sequence[int]],
        old: Sequence[Sequence[float]],
        advantages: Sequence[float],
        loss: str,
        path: str,
    ) -> dict[str, Any]:
        """The gradient of one step's loss by TRL's own loss code, micro-batch by micro-batch."""
        from safetensors.torch import save_file

        asked, trainer = of_dict(work), self.trainer
        pad = trainer._tokenizer.pad_token_id
        rows = [ids for ids, group in zip(asked.prompts, asked.lengths, strict=True) for _ in group]
        prompt, longest = max(map(len, rows)), max(map(len, token_ids))
        inputs = {
            "prompt_ids": torch.tensor([[pad] * (prompt - len(r)) + list(r) for r in rows]),
            "prompt_mask": torch.tensor([[0] * (prompt - len(r)) + [1] * len(r) for r in rows]),
            "completion_ids": torch.tensor(
                [list(a) + [pad] * (longest - len(a)) for a in token_ids]
            ),
            "completion_mask": torch.tensor(
                [[1] * len(a) + [0] * (longest - len(a)) for a in token_ids]
            ),
            "old_per_token_logps": torch.tensor(
                [list(o) + [0.0] * (longest - len(o)) for o in old]
            ),
            "advantages": torch.tensor(advantages, dtype=torch.float32),
        }
        size = trainer.args.per_device_train_batch_size
        kept, accumulated = trainer.loss_type, trainer.args.steps_per_generation
        trainer.loss_type, trainer.current_gradient_accumulation_steps = loss, accumulated
        trainer.model.train()
        trainer.model.zero_grad(set_to_none=True)
        total = 0.0
        for start in range(0, len(rows), size):
            part = {name: value[start : start + size] for name, value in inputs.items()}
            part["num_items_in_batch"] = inputs["completion_mask"].sum()
            value = trainer._compute_loss(trainer.model, part)
            value.backward()
            total += float(value.detach())
        named = trainer.model.named_parameters()
        grads = {name: p.grad.detach().clone() for name, p in named if p.grad is not None}
        save_file(grads, path)
        trainer.model.zero_grad(set_to_none=True)
        trainer.loss_type = kept
        trainer._metrics["train"].clear()
        return {"loss": total, "tensors": len(grads)}


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    Trl().run()
