"""transformers as a contestant: `generate` on one left-padded batch, and continuous batching.

generate:   finished rows are masked but still computed, which is how it works; it stops when the last
            row has its length.
batching:   `continuous_batching_context_manager` with paged attention, each request with its own
            max_new_tokens; it returns log-probabilities.
"""

import os
import time
from typing import Any

import torch
import transformers
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from benchmarks import measure, workers
from benchmarks.work import of_dict

PAGE = 64


class Lengths(StoppingCriteria):
    """Row i is done after lengths[i] new tokens."""

    def __init__(self, lengths: list[int], prompt: int) -> None:
        self.ends = torch.tensor(lengths) + prompt

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> Any:
        return self.ends <= input_ids.shape[1]


class Transformers:
    def load(self, model: str, dtype: str) -> dict[str, Any]:
        torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
        torch.manual_seed(0)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            model, dtype=getattr(torch, dtype), attn_implementation="sdpa"
        ).eval()
        return {"versions": measure.versions(), "threads": torch.get_num_threads()}

    def generate(self, work: dict[str, Any], round: int) -> dict[str, Any]:
        asked = of_dict(work)
        workers.reset_peak()
        torch.manual_seed(round)
        start = time.perf_counter()
        rows = [ids for ids, g in zip(asked.prompts, asked.lengths, strict=True) for _ in g]
        lengths = [n for group in asked.lengths for n in group]
        longest = max(map(len, rows))
        batch = torch.tensor([[0] * (longest - len(r)) + list(r) for r in rows])
        mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in rows])
        with torch.inference_mode():
            out = self.model.generate(
                batch,
                attention_mask=mask,
                generation_config=_config(asked.longest),
                stopping_criteria=StoppingCriteriaList([Lengths(lengths, longest)]),
            )
        answers = [row[longest : longest + n].tolist() for row, n in zip(out, lengths, strict=True)]
        seconds = time.perf_counter() - start
        if [len(a) for a in answers] != lengths:
            raise RuntimeError("answers do not have the lengths that were asked")
        return {"seconds": seconds, "tokens": asked.answer_tokens}

    def batching(self, work: dict[str, Any], round: int) -> dict[str, Any]:
        asked = of_dict(work)
        workers.reset_peak()
        lengths = [n for group in asked.lengths for n in group]
        rows = [ids for ids, g in zip(asked.prompts, asked.lengths, strict=True) for _ in g]
        pages = sum(-(-(len(r) + n) // PAGE) + 1 for r, n in zip(rows, lengths, strict=True))
        settings = transformers.ContinuousBatchingConfig(
            page_size=PAGE,
            num_blocks=pages,
            max_batch_tokens=max(512, max(map(len, rows))),
            max_requests_per_batch=len(rows),
            return_logprobs=True,
            seed=round,
        )
        found: dict[str, list[int]] = {}
        start = time.perf_counter()
        with (
            torch.no_grad(),
            self.model.continuous_batching_context_manager(
                generation_config=_config(asked.longest),
                continuous_batching_config=settings,
                block=True,
                timeout=10,
            ) as manager,
        ):
            for number, (ids, n) in enumerate(zip(rows, lengths, strict=True)):
                manager.add_request(
                    list(ids), request_id=str(number), max_new_tokens=n, eos_token_id=-1
                )
            while len(found) < len(rows):
                result = manager.get_result(timeout=10)
                if result is not None and result.error:
                    raise RuntimeError(f"continuous batching: {result.error}")
                if result is not None and result.is_finished():
                    found[result.request_id] = list(result.generated_tokens)
                elif result is None and not manager.is_running():
                    raise RuntimeError("continuous batching ended before its requests did")
            seconds = time.perf_counter() - start
        if [len(found[str(i)]) for i in range(len(rows))] != lengths:
            raise RuntimeError("answers do not have the lengths that were asked")
        return {"seconds": seconds, "tokens": asked.answer_tokens}


def _config(longest: int) -> GenerationConfig:
    """Plain sampling at temperature 1; no end-of-sequence token."""
    return GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=longest,
        eos_token_id=None,
        pad_token_id=0,
    )


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    state = Transformers()
    workers.serve({"load": state.load, "generate": state.generate, "batching": state.batching})
