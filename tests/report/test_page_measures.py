"""The stage x measure table of the page: cells, what they say of themselves, damaged and hostile files."""

import html
import json
import re

import page_runs
import pytest

from aha.report.page import report
from aha.report.page.measures import Column, beside, flat, read, rows
from aha.report.page.read import Reader

SUMS, TALK = "sums", "talk"


def share(value, n=64, **more):
    return {"value": value, "low": value - 0.05, "high": value + 0.05, "n": n, **more}


def measures(name, *, right=0.5, gain=None, against="", lang=True):
    numbers = {
        "pass_at_1": share(right),
        "cons_at_k": share(right + 0.1, k=16),
        "form": share(0.75),
        "think_tokens": {"value": 123.4, "p10": 20.0, "p90": 300.0, "n": 1024},
    }
    compared = {"gain": gain} if gain else {}
    langs = {"en": {"pass_at_1": share(right)}, "zh": {"pass_at_1": share(0.25)}} if lang else {}
    talk = {"helpful": share(0.5), "safe": share(1.0, 8)}
    win = {"win_rate": share(0.75)} if against else {}
    return {
        "name": name,
        "against": against,
        "sources": [
            {"name": SUMS, "numbers": numbers, "lang": langs, "compared": compared},
            {"name": TALK, "numbers": talk, "lang": {}, "compared": win},
        ],
        "all": {"numbers": numbers, "lang": langs, "compared": compared},
    }


def column(name="zero", *, run="run", cost=None, **said):
    return Column(run, name, measures(name, **said), cost or {})


def labelled(columns, **options):
    return {row.label: row.cells for row in rows(columns, **options)}


def write(root, name, said, cost=None):
    folder = root / "measures" / "base" if name == "base" else root / name / "measures"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "measures.json").write_text(said if isinstance(said, str) else json.dumps(said))
    if cost:
        (root / name / "cost.json").write_text(json.dumps(cost))


def test_a_cell_says_how_sure_it_is():
    gain = {"value": 0.1, "low": 0.02, "high": 0.18, "n": 64}
    found = labelled([[column(gain=gain, against="base")]])
    [cell] = found["sums pass@1, %"]
    assert cell.shown == "50.0"
    assert cell.about == (
        "95 % interval 45.0 to 55.0; 64 prompts; +10.0 [+2.0, +18.0] against base"
    )
    assert cell.differs
    [cell] = found["thinking, tokens"]
    assert (cell.shown, cell.about) == ("123", "10th to 90th percentile 20.0 to 300; 1,024 answers")
    assert found["talk: win rate, %"][0].differs  # 70 to 80 %, and even is 50


@pytest.mark.parametrize(("low", "high"), [(-0.02, 0.18), (0.0, 0.1)])
def test_a_difference_that_may_be_none_is_not_marked(low, high):
    gain = {"value": 0.08, "low": low, "high": high, "n": 64}
    [cell] = labelled([[column(gain=gain, against="base")]])["sums pass@1, %"]
    assert not cell.differs


def test_rows_are_there_where_something_is():
    found = labelled([[column()]])
    assert "sums zh pass@1, %" in found
    assert "sums cons@16, %" in found
    assert "talk: safe, %" in found
    assert "talk pass@1, %" not in found  # conversation has no right answer
    assert "readable, %" not in found  # nobody measured it
    assert "all pass@1, %" not in found  # one source is all
    assert "tokens sampled" not in found
    assert not [label for label in labelled([[column()]], brief=True) if "zh" in label]


def test_what_it_cost_is_beside_it():
    cost = {"cpu_s": 7200.0, "tokens_sampled": 1_234_567, "gpu_s": 0.0, "tokens_trained": "many"}
    found = labelled([[column(cost=cost)]])
    assert found["CPU time"][0].shown == "2.0 h"
    assert found["tokens sampled"][0].shown == "1.23M"
    assert not {"GPU time", "tokens trained"} & found.keys()


def test_a_model_that_lacks_a_source_has_an_empty_cell():
    bare = Column("run", "base", {"sources": [], "all": {}}, {})
    cells = labelled([[bare], [column()]])["sums pass@1, %"]
    assert [cell.shown for cell in cells] == ["", "50.0"]


def test_seeds_of_one_recipe_are_a_mean_and_a_range():
    runs = [[column(run=f"seed{i}", right=right)] for i, right in enumerate((0.25, 0.5, 0.75))]
    columns = beside(runs)
    [cell] = labelled(columns)["sums pass@1, %"]
    assert cell.shown == "50.0 (25.0 to 75.0)"
    assert cell.about == "mean of 3 runs: seed0 25.0, seed1 50.0, seed2 75.0"


def test_a_measure_that_only_some_runs_have_says_so():
    gain = {"value": 0.1, "low": 0.02, "high": 0.18, "n": 64}
    bare = [Column(f"seed{i}", "zero", {}, {"cpu_s": 60.0 * i}) for i in (1, 2)]
    found = labelled(
        beside([[column(run="seed0", gain=gain, against="base")], *([b] for b in bare)])
    )
    [cell] = found["sums pass@1, %"]
    assert (cell.shown, cell.differs) == ("50.0 (1 of 3 runs)", False)
    assert cell.about.startswith("seed0; 95 % interval 45.0 to 55.0")
    [cell] = found["CPU time"]
    assert cell.shown == "1.5 min (1.0 min to 2.0 min; 2 of 3 runs)"
    assert cell.about == "mean of 2 of 3 runs: seed1 1.0 min, seed2 2.0 min"


def test_a_model_that_only_one_run_has_is_no_mean():
    """`base` is a column of the first run only."""
    runs = [[column("base", run="a"), column(run="a")], [column(run="b")]]
    base, zero = labelled(beside(runs))["sums pass@1, %"]
    assert (base.shown, zero.shown) == ("50.0 (1 of 2 runs)", "50.0 (50.0 to 50.0)")


@pytest.mark.parametrize(
    ("low", "high", "n", "marked"),
    [(0.02, 0.18, 8, True), (0.02, 0.18, 7, False), (0.1, 0.1, 64, True), (0.1, 0.1, 1, False)],
)
def test_hardly_any_prompts_mark_nothing(low, high, n, marked):
    gain = {"value": 0.1, "low": low, "high": high, "n": n}
    one = column(gain=gain, against="base")
    one.measures["sources"][1]["compared"] = {
        "win_rate": {k: v + 0.5 for k, v in gain.items()} | {"n": n}
    }
    found = labelled([[one]])
    assert found["sums pass@1, %"][0].differs is marked
    assert found["talk: win rate, %"][0].differs is marked


def test_every_number_is_in_the_flat_list():
    found = list(flat(column(against="base")))
    assert ("sums", "zh", "pass_at_1", share(0.25)) in found
    assert ("talk", "", "win_rate", share(0.75)) in found
    assert len({(source, lang, name) for source, lang, name, _ in found}) == len(found)


@pytest.mark.parametrize(
    "said",
    [
        "not json",
        "[]",
        '{"sources": 3, "all": []}',
        '{"sources": [1, {"name": 7, "numbers": {"pass_at_1": {"value": "x"}}}], "lang": 1}',
        '{"sources": [{"name": "s", "numbers": {"pass_at_1": {"value": 1e999, "n": null}}}]}',
    ],
)
def test_a_damaged_file_is_an_empty_column_or_none(tmp_path, said):
    write(tmp_path, "zero", said)
    columns = [[one] for one in read(Reader(tmp_path), ["zero"])]
    assert [cell.shown for row in rows(columns) for cell in row.cells] == []
    assert all(isinstance(name, str) for [one] in columns for name, *_ in flat(one))


# -- measured otherwise ------------------------------------------------------------------------------------

RECIPE = (
    page_runs.RECIPE
    + """
[measures]
samples = 16
max_answer_tokens = 512
stages = []
base = true
reward_part = "summary"
[measures.heldout]
sums = "arithmetic"
"""
)
OTHERWISE = "measured with other settings"
GAIN = {"value": 0.25, "low": 0.1, "high": 0.4, "n": 64}


def made(name, *, heldout="arithmetic", against="base", **settings):
    """Of a model that was measured with these settings, or those of RECIPE."""
    said = measures(name, gain=GAIN if against else None, against=against)
    said["sources"] = [said["sources"][0] | {"source": heldout}]
    return said | {"settings": {"samples": 16, "max_answer_tokens": 512} | settings}


def cells_of(tmp_path, recipe, *said):
    (tmp_path / "recipe.toml").write_text(recipe)
    for one in said:
        write(tmp_path, one["name"], one)
    return labelled([[one] for one in read(Reader(tmp_path), ["zero", "sft"])])


def test_settings_that_the_recipe_asks_for_are_not_spoken_of(tmp_path):
    # what is read of an answer without a reward model may change, and nothing is measured again
    found = cells_of(tmp_path, RECIPE, made("base", against=""), made("zero", reward_part="whole"))
    assert OTHERWISE not in found
    assert [cell.differs for cell in found["sums pass@1, %"]] == [False, True]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"max_answer_tokens": 128}, "max_answer_tokens 128"),
        ({"samples": 4, "temperature": 0.6}, "samples 4"),
        ({"heldout": "arithmetic?digits=1"}, "heldout.sums arithmetic?digits=1"),
    ],
)
def test_a_column_of_other_settings_is_marked_and_compared_with_nothing(tmp_path, changed, told):
    found = cells_of(
        tmp_path, RECIPE, made("base", against=""), made("zero", **changed), made("sft")
    )
    assert [cell.shown for cell in found[OTHERWISE]] == ["", told, ""]
    base, zero, sft = found["sums pass@1, %"]
    assert (base.differs, zero.differs, sft.differs) == (False, False, True)
    assert zero.about == "95 % interval 45.0 to 55.0; 64 prompts"
    assert "+25.0 [+10.0, +40.0] against base" in sft.about


def test_nothing_is_compared_with_a_model_of_other_settings(tmp_path):
    """The base was measured when answers could be longer; what zero gained was over those answers."""
    found = cells_of(
        tmp_path, RECIPE, made("base", against="", max_answer_tokens=900), made("zero")
    )
    assert [cell.shown for cell in found[OTHERWISE]] == ["max_answer_tokens 900", ""]
    assert [cell.differs for cell in found["sums pass@1, %"]] == [False, False]
    assert "against" not in found["sums pass@1, %"][1].about


def test_a_source_more_or_less_is_another_setting(tmp_path):
    more = made("zero")
    more["sources"].append({"name": "old", "source": "countdown", "numbers": {}})
    found = cells_of(tmp_path, RECIPE, more, made("sft"))
    assert [cell.shown for cell in found[OTHERWISE]] == ["heldout old, sums", ""]


def test_models_that_the_recipe_asks_for_no_more(tmp_path):
    recipe = RECIPE.replace("stages = []", 'stages = ["sft"]').replace(
        "base = true", "base = false"
    )
    found = cells_of(
        tmp_path, recipe, made("base", against=""), made("zero"), made("sft", against="")
    )
    told = "not asked for any more"
    assert [cell.shown for cell in found[OTHERWISE]] == [told, told, ""]


def test_without_a_recipe_columns_are_held_against_the_last_one(tmp_path):
    """Of a file of an older version, without settings, nothing is known and nothing said."""
    old = measures("base")
    found = cells_of(tmp_path, "[[not toml", old, made("zero", max_answer_tokens=256), made("sft"))
    assert [cell.shown for cell in found[OTHERWISE]] == [
        "heldout sums, talk",
        "max_answer_tokens 256",
        "",
    ]
    del old["sources"]
    found = cells_of(tmp_path, "", old, made("zero"), made("sft"))
    assert OTHERWISE not in found


def test_runs_beside_each_other_say_which_of_them_it_is(tmp_path):
    runs = []
    for name, tokens in (("a", 512), ("b", 64)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.toml").write_text(RECIPE)
        write(tmp_path / name, "zero", made("zero", max_answer_tokens=tokens))
        runs.append(read(Reader(tmp_path / name), ["zero"], name))
    assert labelled(beside(runs))[OTHERWISE][0].shown == "b: max_answer_tokens 64"


# -- the page ----------------------------------------------------------------------------------------------


def page_of(tmp_path, *roots):
    out = tmp_path / "report.html"
    report(roots, out)
    return out.read_text("utf-8")


def section(page):
    found = re.search(r'<section id="stages">(.*?)</section>', page, re.S)
    return found and found[1]


def test_it_is_the_first_table_of_the_page(tmp_path):
    root = page_runs.run_folder(tmp_path / "small")
    write(root, "base", measures("base", right=0.25))
    gain = {"value": 0.25, "low": 0.1, "high": 0.4, "n": 64}
    write(root, "zero", measures("zero", gain=gain, against="base"), cost={"cpu_s": 60.0})
    page = page_of(tmp_path, root)
    assert page.index('id="stages"') < page.index('id="alerts"')
    assert '<a href="#stages">stages</a>' in page
    found = section(page)
    assert re.search(r'<th scope="col">base<th scope="col">zero<br>.*?against base', found)
    line = re.search(r'<tr><th scope="row">sums pass@1, %(.*?)<tr>', found, re.S)[1]
    assert [html.unescape(x) for x in re.findall(r'<td title="(.*?)">', line)] == [
        "95 % interval 20.0 to 30.0; 64 prompts",
        "95 % interval 45.0 to 55.0; 64 prompts; +25.0 [+10.0, +40.0] against base",
    ]
    assert "25.0<td" in line
    assert "<b>50.0</b>" in line
    assert "1.0 min" in found
    assert "<td>think_tokens<td>123.4<td>20<td>300<td>1024" in found  # the data table


def test_the_page_says_what_was_measured_otherwise(tmp_path):
    root = page_runs.run_folder(tmp_path / "small", recipe=RECIPE)
    evil = "<script>alert(1)</script>"
    write(root, "base", made("base", against="", heldout=evil))
    write(root, "zero", made("zero", max_answer_tokens=128))
    page = page_of(tmp_path, root)
    assert "<td>max_answer_tokens 128" in section(page)
    assert "<b>" not in section(page)
    assert "<script>alert" not in page


def test_runs_side_by_side(tmp_path):
    roots = [page_runs.run_folder(tmp_path / name) for name in ("a", "b")]
    for root in roots:
        write(root, "zero", measures("zero"))
    found = section(page_of(tmp_path, *roots))
    assert '<th colspan="1" scope="colgroup">a<th colspan="1" scope="colgroup">b' in found


def test_a_run_without_measures_has_no_such_section(tmp_path):
    page = page_of(tmp_path, page_runs.run_folder(tmp_path / "small"))
    assert section(page) is None
    assert "#stages" not in page


def test_names_from_outside_are_text(tmp_path):
    root = page_runs.run_folder(tmp_path / "small")
    evil = '"><script>alert(1)</script>'
    said = measures(evil, against=evil)
    said["sources"][0]["name"] = evil
    said["sources"][0]["numbers"][evil] = share(0.5)
    said["sources"][0]["lang"][evil] = {"pass_at_1": share(0.5)}
    write(root, "zero", said)
    assert "<script>alert" not in page_of(tmp_path, root)
