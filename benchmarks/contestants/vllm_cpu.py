"""vLLM's CPU build as a contestant, in-process, with prefix caching and compiled as by default.

Between rounds its prefix cache is emptied, as a trainer must after every update.
"""

import os
import time
from typing import Any

from benchmarks import measure, workers
from benchmarks.work import of_dict


def settings(threads: int) -> dict[str, str]:
    """Environment variables that its documentation advises, set before the process starts."""
    from benchmarks.environments import BENCH

    found = {
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": _cores(threads),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": str(BENCH / "vllm" / "cache"),
    }
    library = BENCH / "vllm" / "lib" / "libiomp5.so"
    if library.exists():
        found["LD_PRELOAD"] = str(library)
    return found


def _cores(threads: int) -> str:
    try:
        cores = sorted(os.sched_getaffinity(0))[:threads]
    except AttributeError:
        return "nobind"
    return ",".join(map(str, cores))


class Vllm:
    def load(self, model: str, dtype: str, max_model_len: int, max_num_seqs: int) -> dict[str, Any]:
        from vllm import LLM

        self.llm = LLM(
            model=model,
            dtype=dtype,
            max_model_len=max_model_len,
            max_num_seqs=max_num_seqs,
            enable_prefix_caching=True,
            seed=0,
            disable_log_stats=True,
        )
        import torch

        return {"versions": measure.versions(), "threads": torch.get_num_threads()}

    def generate(self, work: dict[str, Any], round: int, logprobs: bool) -> dict[str, Any]:
        from vllm import SamplingParams

        asked = of_dict(work)
        workers.reset_peak()
        if not self.llm.reset_prefix_cache():
            raise RuntimeError("the prefix cache could not be emptied")
        start = time.perf_counter()
        prompts, params = [], []
        for prompt, lengths in zip(asked.prompts, asked.lengths, strict=True):
            for n in lengths:
                prompts.append({"prompt_token_ids": list(prompt)})
                params.append(
                    SamplingParams(
                        temperature=1.0,
                        top_p=1.0,
                        top_k=0,
                        max_tokens=n,
                        ignore_eos=True,
                        logprobs=0 if logprobs else None,
                        detokenize=False,
                    )
                )
        found = self.llm.generate(prompts, params, use_tqdm=False)
        answers = [list(request.outputs[0].token_ids) for request in found]
        if logprobs:
            for request, ids in zip(found, answers, strict=True):
                rows = request.outputs[0].logprobs or []
                _ = [row[token].logprob for row, token in zip(rows, ids, strict=True)]
        seconds = time.perf_counter() - start
        if [len(a) for a in answers] != [n for group in asked.lengths for n in group]:
            raise RuntimeError("answers do not have the lengths that were asked")
        return {"seconds": seconds, "tokens": asked.answer_tokens}


if __name__ == "__main__":
    state = Vllm()
    workers.serve({"load": state.load, "generate": state.generate})
