"""`aha sandbox check` and `aha sandbox run`: facts as plain values, and as text."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aha.errors import DataError
from aha.sandbox import check
from aha.sandbox.box import Sandbox, missing
from aha.sandbox.interpreter import find
from aha.sandbox.types import TIERS, Limits


def checked(tier: str) -> dict[str, Any]:
    """Run the hostile suite.

    Raises:
        RunError: no such tier works here.
    """
    begun = time.monotonic()
    with Sandbox(tier) as sandbox:
        findings = check.run(sandbox)
        used = sandbox.tier
    return {
        "tier": used,
        "other_tiers": {name: missing(name) or "there" for name in TIERS[:-1] if name != used},
        "python": find().executable,
        "seconds": time.monotonic() - begun,
        "held": sum(finding.held for finding in findings),
        "known": sum(finding.known for finding in findings),
        "broken": sum(not (finding.held or finding.known) for finding in findings),
        "findings": [asdict(finding) for finding in findings],
    }


def check_text(facts: dict[str, Any]) -> str:
    areas = Counter(finding["area"] for finding in facts["findings"])
    held = Counter(finding["area"] for finding in facts["findings"] if finding["held"])
    lines = [f"sandbox: {facts['tier']} (python {facts['python']})"]
    lines += [f"  {area:<9} {held[area]:>3} of {count} held" for area, count in areas.items()]
    for finding in facts["findings"]:
        if not finding["held"]:
            how = "not covered by this tier" if finding["known"] else "DOES NOT HOLD"
            lines.append(f"  {how}: {finding['area']}, {finding['name']}: {finding['said']}")
    lines.append(f"{facts['held']} of {len(facts['findings'])} held, {facts['seconds']:.1f} s")
    return "\n".join(lines)


def ran(
    file: Path, arguments: Sequence[str], stdin: Path | None, seconds: float, memory: int, tier: str
) -> dict[str, Any]:
    """Run one program.

    Raises:
        DataError: the program or its input cannot be read.
        RunError: no such tier works here.
    """
    program, given = _read(file), _read(stdin) if stdin else b""
    limits = Limits(seconds=seconds, memory_mb=memory)
    with Sandbox(tier, slots=1) as sandbox:
        outcome = sandbox.run(program, arguments=arguments, stdin=given, limits=limits)
    facts = asdict(outcome)
    for name in ("stdout", "stderr"):
        facts[name] = facts[name].decode("utf-8", "replace")
    return facts


def run_text(facts: dict[str, Any]) -> str:
    code = "" if facts["exit_code"] is None else f", exit code {facts['exit_code']}"
    lines = [f"{facts['status']}{code}, {facts['seconds'] * 1000:.0f} ms, sandbox {facts['tier']}"]
    lines += [facts["reason"]] if facts["reason"] else []
    for name in ("stdout", "stderr"):
        if facts[name]:
            lines += [f"-- {name}", facts[name].rstrip("\n")]
    return "\n".join(lines)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}; give the file of a Python program (and its input "
            "with --stdin FILE)"
        ) from error
