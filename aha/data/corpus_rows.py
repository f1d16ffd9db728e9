"""Documents into rows of tokens: one endless stream, cut every `context` tokens.

Documents follow each other with the end token between them. A row may begin or end inside a
document, and attention inside a row crosses from one document into the next: the model learns what
the end token means. The cursor says exactly where the stream stands, so a resumed run reads on.

Not covered: files of text; the stream is the generated corpus.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

BLOCK = 256
"""Documents encoded at once."""


@dataclass(slots=True)
class RowStream:
    """Rows of `context` token ids."""

    document: Callable[[int], tuple[str, str]]
    """Kind and text of document number i."""
    encode: Callable[[list[str]], list[list[int]]]
    eos: int
    """Token id written after each document."""
    context: int
    kinds: tuple[str, ...]
    """Names of the kinds; a token's kind is its place here."""
    next_document: int = 0
    left: list[int] = field(default_factory=list)
    """Encoded but not yet handed out."""
    left_kinds: list[int] = field(default_factory=list)

    def take(self, rows: int) -> tuple[list[list[int]], list[list[int]]]:
        """The next `rows` rows of `context` ids, and the kind of each token."""
        need = rows * self.context
        while len(self.left) < need:
            block = [self.document(self.next_document + i) for i in range(BLOCK)]
            encoded = self.encode([text for _, text in block])
            for (kind, _), ids in zip(block, encoded, strict=True):
                self.left += [*ids, self.eos]
                self.left_kinds += [self.kinds.index(kind)] * (len(ids) + 1)
            self.next_document += BLOCK
        ids, self.left = self.left[:need], self.left[need:]
        kinds, self.left_kinds = self.left_kinds[:need], self.left_kinds[need:]
        starts = range(0, need, self.context)
        return [ids[i : i + self.context] for i in starts], [
            kinds[i : i + self.context] for i in starts
        ]

    def cursor(self) -> dict[str, Any]:
        return {
            "next_document": self.next_document,
            "left": self.left,
            "left_kinds": self.left_kinds,
        }

    def seek(self, cursor: dict[str, Any]) -> None:
        self.next_document = cursor["next_document"]
        self.left, self.left_kinds = list(cursor["left"]), list(cursor["left_kinds"])
