import gzip
import json
import subprocess
import sys

import pytest

from aha.config import DataConfig
from aha.data.sources import Loaded, load
from aha.errors import ConfigError, DataError

NAMED = DataConfig(heldout="named")
LENIENT = DataConfig(heldout="named", max_bad_share=1.0)


def write(path, values):
    lines = "".join(
        (value if isinstance(value, str) else json.dumps(value)) + "\n" for value in values
    )
    data = lines.encode("utf-8", "surrogatepass")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def sums(n, start=0):
    return [{"question": f"{i} + 1?", "answer": str(i + 1)} for i in range(start, start + n)]


def test_a_file(tmp_path):
    source = write(tmp_path / "train.jsonl", sums(3))
    loaded = load(source, split="train", config=DataConfig())
    assert [prompt.id for prompt in loaded.prompts] == ["train-1", "train-2", "train-3"]
    assert [prompt.gold for prompt in loaded.prompts] == ["1", "2", "3"]
    assert {prompt.source for prompt in loaded.prompts} == {"train.jsonl"}
    assert loaded.mapping == {"question": "question", "gold": "answer"}
    assert (loaded.read, loaded.bad, loaded.files) == (3, [], [source])
    assert "3 problems of 3 rows, 0 broken; question from 'question'" in loaded.sentence()


def test_query_keys_of_rows(tmp_path):
    rows = [{"q": f"q{i}", "a": "1", "kind": "math", "topic": "t"} for i in range(5)]
    source = write(tmp_path / "x.jsonl", rows)
    query = "?question=q&gold=a&kind=exact&lang=zh&domain=topic&n=3"
    loaded = load(source + query, split="train", config=NAMED)
    assert len(loaded.prompts) == 3
    first = loaded.prompts[0]
    assert (first.question, first.kind, first.lang, first.domain) == ("q0", "exact", "zh", "t")


def test_broken_rows_are_counted_to_the_row(tmp_path):
    rows = [
        {"id": "a", "question": "Q", "answer": "1"},
        "{broken",
        {"id": "b", "question": "Q"},
        {"id": "a", "question": "again", "answer": "1"},
        {"id": "c", "question": "x\0y", "answer": "1"},
        {"id": "d", "question": "Q", "answer": "2"},
        '{"id": "e", "question": "\\ud800", "answer": "2"}',
        "[]",
    ]
    source = write(tmp_path / "x.jsonl.gz", rows)
    loaded = load(source, split="train", config=LENIENT)
    assert [prompt.id for prompt in loaded.prompts] == ["a", "d"]
    assert loaded.read == 8
    assert [(row.line, row.column) for row in loaded.bad] == [
        (2, ""), (3, "answer"), (4, "id"), (5, "question"), (7, "question"), (8, ""),
    ]  # fmt: skip
    assert f"already that of {source}:1" in loaded.bad[2].reason


def test_too_many_broken_rows_are_refused_with_file_and_line(tmp_path):
    source = write(tmp_path / "x.jsonl", [*sums(98), "{", "{"])
    with pytest.raises(DataError) as error:
        load(source, split="train", config=NAMED)
    assert "2 of 100 rows are broken, above max_bad_share=0.01" in str(error.value)
    assert f"{source}:99: not JSON" in str(error.value)
    assert f"{source}:100: not JSON" in str(error.value)
    write(tmp_path / "x.jsonl", [*sums(99), "{"])  # 1 of 100 is not above 1 %
    assert len(load(source, split="train", config=NAMED).prompts) == 99


def test_nothing_in_it(tmp_path):
    source = write(tmp_path / "x.jsonl", [])
    with pytest.raises(DataError, match="holds no problem: no rows"):
        load(source, split="train", config=NAMED)
    write(tmp_path / "x.jsonl", ["{", "["])
    with pytest.raises(DataError, match=r"x\.jsonl:1: not JSON"):
        load(source, split="train", config=LENIENT)


def test_a_folder_by_split(tmp_path):
    write(tmp_path / "train-1.jsonl.gz", sums(2))
    write(tmp_path / "train-2.jsonl", sums(2, 50))
    write(tmp_path / "trainer.jsonl", sums(9))
    write(tmp_path / "validation.jsonl", sums(3))
    write(tmp_path / "test.jsonl", sums(4))
    (tmp_path / "README.md").write_text("x")
    folder = str(tmp_path)
    train = load(folder, split="train", config=DataConfig())
    assert [prompt.id for prompt in train.prompts] == [
        "train-1-1", "train-1-2", "train-2-1", "train-2-2",
    ]  # fmt: skip
    assert train.prompts[0].source == f"{tmp_path.name}/train-1.jsonl.gz"
    assert len(load(folder, split="heldout", config=DataConfig()).prompts) == 4
    assert len(load(folder + "?split=validation", split="train", config=NAMED).prompts) == 3


@pytest.mark.parametrize("name", ["validation", "val", "dev", "heldout", "eval", "test", "valid"])
def test_names_of_the_heldout_split(tmp_path, name):
    write(tmp_path / "train.jsonl", sums(2))
    write(tmp_path / f"{name}.jsonl", sums(3))
    assert len(load(str(tmp_path), split="heldout", config=DataConfig()).prompts) == 3
    assert len(load(str(tmp_path), split="test", config=DataConfig()).prompts) == 3


def test_a_folder_without_the_split(tmp_path):
    write(tmp_path / "train.jsonl", sums(2))
    with pytest.raises(DataError, match=r"no file for the split heldout \(it has: train\.jsonl\)"):
        load(str(tmp_path), split="heldout", config=DataConfig())


def test_two_files_of_one_stem_have_ids_of_their_own(tmp_path):
    write(tmp_path / "train.jsonl", sums(1))
    (tmp_path / "train.csv").write_text("question,answer\nQ,5\n")
    ids = [prompt.id for prompt in load(str(tmp_path), split="train", config=NAMED).prompts]
    assert ids == ["train.csv-2", "train.jsonl-1"]


def test_training_data_never_pass_for_heldout(tmp_path):
    source = write(tmp_path / "all.jsonl", sums(2))
    for one_split in (source, "arithmetic?split=train", "owner/data?split=train"):
        with pytest.raises(DataError, match=r"data\.heldout=SOURCE"):
            load(one_split, split="heldout", config=DataConfig(train=one_split))
    assert len(load(source, split="heldout", config=DataConfig(heldout=source)).prompts) == 2


def test_tasks():
    train = load("arithmetic?n=40&lang=mix", split="train", config=DataConfig())
    heldout = load("arithmetic", split="heldout", config=DataConfig())
    assert (len(train.prompts), len(heldout.prompts)) == (40, 1000)
    assert isinstance(train, Loaded)
    assert not {p.id for p in train.prompts} & {p.id for p in heldout.prompts}
    few = load("arithmetic?n=500&terms=2&digits=1&ops=%2B", split="train", config=DataConfig())
    assert len(few.prompts) < 81
    assert "were asked for" in few.notes[0]


@pytest.mark.parametrize(
    "source, kind, said",
    [
        ("arithmetic?trems=3", ConfigError, "did you mean 'terms'"),
        ("arithmetic?n=0", ConfigError, "1 or more"),
        ("aritmetic", DataError, "did you mean the task 'arithmetic'"),
        ("not a name", DataError, "no task, file, folder or hub id"),
        ("./nowhere/x.jsonl", DataError, "no folder"),
        ("", ConfigError, "names no place"),
    ],
)
def test_sources_that_are_refused(source, kind, said):
    with pytest.raises(kind) as error:
        load(source, split="train", config=DataConfig())
    assert said in str(error.value)


def test_near_misses(tmp_path):
    source = write(tmp_path / "train.jsonl", sums(1))
    with pytest.raises(DataError, match=r"did you mean .*train\.jsonl"):
        load(source.replace("train", "trian"), split="train", config=NAMED)
    for query, said in [
        ("?qestion=x", "did you mean 'question'"),
        ("?kind=poem", "write math, exact, countdown"),
        ("?name=main", "hub data sets"),
        ("?n=many", "whole number"),
    ]:
        with pytest.raises(ConfigError, match=said):
            load(source + query, split="train", config=NAMED)
    with pytest.raises(ConfigError, match="write train or heldout"):
        load(source, split="trian", config=NAMED)


def test_notes_say_what_is_left_out(tmp_path):
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]
    rows = [{"prompt": messages, "answer": "A", "choices": ["1", "2"]}]
    source = write(tmp_path / "x.jsonl", rows)
    loaded = load(f"{source}?n=5&kind=exact", split="train", config=NAMED)
    assert [note.split(",")[0] for note in loaded.notes] == [
        "n=5 was asked for",
        "column 'choices' is not part of the question: models will not see it",
        "1 rows have a system message",
    ]
    chosen = load(source, split="train", config=NAMED)
    assert [note.split(",")[0] for note in chosen.notes] == [
        "kind choice",
        "1 rows have a system message",
    ]


def test_the_hub(monkeypatch):
    import datasets

    asked = []

    def load_dataset(where, name=None, split=None):
        asked.append((where, name, split))
        if split == "test":
            raise ValueError("Unknown split \"test\". Should be one of ['train', 'validation'].")
        return [{"question": "Q", "answer": "so #### 5"}, {"question": "", "answer": "1"}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    config = DataConfig(max_bad_share=0.5)
    loaded = load("openai/gsm8k?name=main", split="heldout", config=config)
    assert asked == [("openai/gsm8k", "main", "test"), ("openai/gsm8k", "main", "validation")]
    assert [(p.id, p.gold, p.source) for p in loaded.prompts] == [
        ("gsm8k-validation-1", "5", "openai/gsm8k")
    ]
    assert str(loaded.bad[0]) == "openai/gsm8k validation:2: column 'question': empty"


def test_the_hub_without_a_network(monkeypatch):
    import datasets

    def load_dataset(where, name=None, split=None):
        raise ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError, match=r"Couldn't reach.*--set data\.train=FOLDER"):
        load("openai/gsm8k", split="train", config=DataConfig())


def test_the_hub_with_a_wrong_configuration(monkeypatch):
    import datasets

    def load_dataset(where, name=None, split=None):
        raise ValueError("Config name is missing. Please pick one among: ['main', 'socratic']")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError, match=r"\['main', 'socratic'\].*\?name=CONFIGURATION"):
        load("openai/gsm8k", split="train", config=DataConfig())


def test_reading_data_imports_no_torch(tmp_path):
    source = write(tmp_path / "x.jsonl", sums(1))
    program = (
        "import sys\n"
        "from aha.config import DataConfig\n"
        "from aha.data import sources, templates, lengths, order\n"
        f"sources.load({source!r}, split='train', config=DataConfig())\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_a_good_row_after_thousands_of_broken_ones_is_read(tmp_path):
    path = tmp_path / "late.jsonl"
    path.write_text("no\n" * 10_001 + '{"question": "1 + 1?", "answer": "2"}\n')
    loaded = load(str(path), split="train", config=DataConfig(max_bad_share=1.0))
    assert [prompt.gold for prompt in loaded.prompts] == ["2"]
    assert len(loaded.bad) == 10_001
