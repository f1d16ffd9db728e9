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

    document: Callable[[int], str]
    """The text of document number i."""
    encode: Callable[[list[str]], list[list[int]]]
    eos: int
    """Token id written after each document."""
    context: int
    next_document: int = 0
    left: list[int] = field(default_factory=list)
    """Encoded but not yet handed out."""

    def take(self, rows: int) -> list[list[int]]:
        """The next `rows` rows, each of `context` ids."""
        need = rows * self.context
        while len(self.left) < need:
            block = [self.document(self.next_document + i) for i in range(BLOCK)]
            for ids in self.encode(block):
                self.left.extend(ids)
                self.left.append(self.eos)
            self.next_document += BLOCK
        taken, self.left = self.left[:need], self.left[need:]
        return [taken[i : i + self.context] for i in range(0, need, self.context)]

    def cursor(self) -> dict[str, Any]:
        return {"next_document": self.next_document, "left": self.left}

    def seek(self, cursor: dict[str, Any]) -> None:
        self.next_document, self.left = cursor["next_document"], list(cursor["left"])
