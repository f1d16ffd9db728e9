"""The reference policy of the KL term: a frozen snapshot of the policy, renewed every N steps.

A full fine-tune keeps a second module. With adapters only the trainable tensors are kept, and lent to
the policy for the reference's forward pass; after a renewal the reference is that frozen adapter, not
"adapter off".
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from aha.models.policy import Policy, Stream


class Reference:
    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.trainable = {n: p for n, p in policy.named_parameters() if p.requires_grad}
        self.partial = len(self.trainable) < sum(1 for _ in policy.parameters())
        self._snapshot: dict[str, Tensor] = {}
        self._module: Policy | None = None
        if self.partial:
            self._snapshot = {n: p.detach().clone() for n, p in self.trainable.items()}
        else:
            self._module = copy.deepcopy(policy).requires_grad_(False).eval()

    @torch.no_grad()
    def logprobs(self, stream: Stream, temperature: float) -> Tensor:
        """[S] log-probabilities of the stream's targets under the reference, nats."""
        if self._module is not None:
            return self._module(stream, temperature)[0]
        with self._lent():
            return self.policy(stream, temperature)[0]

    @torch.no_grad()
    def renew(self) -> None:
        """The reference becomes the present policy. DeepSeek-R1: every 400 steps."""
        self.load_state({n: p.detach() for n, p in self.trainable.items()})

    def state(self) -> dict[str, Tensor]:
        """Tensors by parameter name, in the working dtype."""
        if self._module is not None:
            return {n: p.detach() for n, p in self._module.named_parameters()}
        return dict(self._snapshot)

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        if self._module is not None:
            for name, parameter in self._module.named_parameters():
                parameter.copy_(tensors[name])
        else:
            self._snapshot = {
                name: tensors[name].to(parameter.device, copy=True)
                for name, parameter in self.trainable.items()
            }

    @contextmanager
    def _lent(self) -> Iterator[None]:
        kept = {n: p.detach().clone() for n, p in self.trainable.items()}
        try:
            for name, parameter in self.trainable.items():
                parameter.data.copy_(self._snapshot[name])
            yield
        finally:
            for name, parameter in self.trainable.items():
                parameter.data.copy_(kept[name])
