"""Answers of the page that belong to no step: which are chosen, that models meet at one question, fates.

And beside them: the ledger of a stage that changes keys of [data], the mismatch of stored answers.
"""

import html
import json
import re

import page_runs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_page_hostile import browsed, browser

from aha.report.page import asked, compared, report
from aha.report.page.asked import Question
from aha.report.page.compared import Model

RECIPE = (
    page_runs.RECIPE
    + """
[sft]
train = "stage:cold"
[stage.cold]
kind = "sample"
start = "stage:zero"
"""
)


def page_of(tmp_path, *roots):
    out = tmp_path / "report.html"
    report(roots, out)
    return out.read_text("utf-8")


def groups_in(page, run=0):
    """Stage -> its groups."""
    block = re.search(r'<script type="application/json" id="found">(.*?)</script>', page)[1]
    return {one["name"]: one["groups"] for one in json.loads(block)["runs"][run]["stages"]}


def visible(page):
    page = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def asked_rows(problems=4, size=2, **changed):
    return [
        page_runs.held_out_answer(f"p{i}", k, **changed)
        for i in range(problems)
        for k in range(size)
    ]


# -- measured answers --------------------------------------------------------------------------------------


def measured_run(tmp_path):
    """Base, zero and sft, measured on two sources that ask questions of the same ids."""
    root = page_runs.run_folder(tmp_path / "run", recipe=RECIPE)
    for stage in ("base", "zero", "sft"):
        facts = [
            {"problem": "p1", "sample": 1, "form": False, "think_tokens": 1200, "reflection": 2},
            {
                "problem": "p1",
                "sample": 0,
                "form": True,
                "readable": True,
                "language": 1.0,
                "wait": 3,
            },
        ]
        page_runs.measured(root, stage, "sums", asked_rows(), facts)
        page_runs.measured(root, stage, "talk", asked_rows(3, status="open", reason=""))
    return root


def test_every_measured_model_has_its_answers(tmp_path):
    page = page_of(tmp_path, measured_run(tmp_path))
    found = groups_in(page)
    assert list(found) == [
        "base",
        "zero",
        "cold",
        "sft",
    ]  # in the order of the recipe, the base first
    for stage in ("base", "zero", "sft"):
        there = {(g["split"], g["id"]) for g in found[stage] if g["split"].startswith("measured")}
        assert there == {
            *(("measured: sums", f"p{i}") for i in range(4)),
            *(("measured: talk", f"p{i}") for i in range(3)),
        }
    group = next(g for g in found["sft"] if g["id"] == "p1" and g["split"] == "measured: sums")
    assert "step" not in group
    assert (group["right"], group["judged"], group["of"]) == (1, 2, 2)
    assert group["answers"][1]["think"] == "<think>thought p1/1</think>"
    assert group["answers"][1]["measured"] == (
        "not the asked form; 1,200 tokens of thinking; 2 words of reflection"
    )
    assert "measured" not in group["answers"][0]  # nothing that is worth saying
    assert "Measured answers: all 42 to 21 questions." in visible(page)


def test_a_run_that_was_killed_while_it_measured(tmp_path):
    """The answers of finished blocks are there, and the receipt at their head is no answer."""
    root = page_runs.run_folder(tmp_path / "run")
    folder = root / "zero" / "measures" / "sums"
    receipt = {"problems": 64, "k": 2, "weights": "zero"}
    page_runs.lines(
        folder / "samples.partial.jsonl", [receipt, *asked_rows(2), {"block_end": True}]
    )
    with (folder / "samples.partial.jsonl").open("a") as file:
        file.write('{"problem": "p9", "sam')
    found = groups_in(page_of(tmp_path, root))["zero"]
    assert [g["id"] for g in found if g["split"] == "measured: sums"] == ["p0", "p1"]


def test_a_model_from_elsewhere_stands_before_the_stage_that_starts_from_it(tmp_path):
    root = measured_run(tmp_path)
    page_runs.measured(root, "sft_base", "sums", asked_rows(2))
    found = groups_in(page_of(tmp_path, root))
    assert list(found) == ["base", "zero", "cold", "sft_base", "sft"]
    assert [g["id"] for g in found["sft_base"]] == ["p0", "p1"]


def test_a_source_that_is_measured_no_more_is_not_shown(tmp_path):
    """Its folder is still there; where no file names the sources, all are shown."""
    root = measured_run(tmp_path)
    named = {"sources": [{"name": "sums"}, 3]}
    for stage, said in (("zero", json.dumps(named)), ("sft", "{torn")):
        (root / stage / "measures" / "measures.json").write_text(said)
    splits = {
        stage: {g["split"] for g in groups if g["split"].startswith("measured")}
        for stage, groups in groups_in(page_of(tmp_path, root)).items()
    }
    both = {"measured: sums", "measured: talk"}
    assert splits == {"base": both, "zero": {"measured: sums"}, "cold": set(), "sft": both}


def test_a_model_from_elsewhere_is_asked_with_the_tags_of_the_recipe(tmp_path):
    recipe = RECIPE.replace("[sft]", '[sft]\ndata = { think_tag = "thought" }')
    root = page_runs.run_folder(tmp_path / "run", recipe=recipe)
    for stage, tag in (("base", "think"), ("sft_base", "think"), ("sft", "thought")):
        text = f"<{tag}>hm</{tag}><answer>1</answer>"
        page_runs.measured(root, stage, "sums", asked_rows(1, 1, response=text))
    found = groups_in(page_of(tmp_path, root))
    shown = {
        stage: found[stage][-1]["answers"][0]["think"] for stage in ("base", "sft_base", "sft")
    }
    assert shown == {
        "base": "<think>hm</think>",
        "sft_base": "<think>hm</think>",
        "sft": "<thought>hm</thought>",
    }


def question(right, judged=8, size=100):
    return Question((size,) * 8, right, judged)


def model(name, tmp_path, **sources):
    return Model(name, tmp_path, ("think", "answer"), sources)


def test_questions_on_which_models_differ_come_first(tmp_path):
    """p5: none of one model's answers is right, all of the other's; p0 is first of the even choice."""
    same = {f"p{i}": question(4) for i in range(16)}
    models = [model("base", tmp_path, sums=same), model("r1", tmp_path, sums=dict(same))]
    models[0].sources["sums"]["p5"], models[1].sources["sums"]["p5"] = question(0), question(8)
    models[1].sources["sums"]["p9"] = question(5)
    chosen = compared.choose(models, 10**6)
    assert list(chosen.why)[:4] == [("sums", name) for name in ("p5", "p0", "p9", "p8")]
    assert chosen.why["sums", "p5"] == ["models differ", "even choice"]
    assert (len(chosen.why), chosen.each) == (16, 0)


def test_more_questions_come_before_more_answers_of_one(tmp_path):
    """16 questions of 8 answers of 100 bytes, two models: 1,600 bytes a question, 400 with two answers."""
    models = [model(name, tmp_path, s={f"p{i}": question(4) for i in range(16)}) for name in "ab"]
    assert compared.choose(models, 16 * 1600).each == 0
    chosen = compared.choose(models, 8 * 400)
    assert (len(chosen.why), chosen.each) == (8, 2)
    assert len(compared.choose(models, 100).why) == 0


names = st.text("ab", min_size=1, max_size=2)


@given(
    queues=st.lists(
        st.lists(st.tuples(names, st.sampled_from(["x", "y"])), max_size=12), max_size=4
    ),
    sizes=st.lists(st.integers(0, 500), min_size=1, max_size=6),
    budget=st.integers(0, 20_000),
)
def test_choosing_keeps_to_its_budget(queues, sizes, budget):
    def size(key, each):
        return sum(sizes[: each or None]) * len(key[1])

    wanted = [[((str(at), name), why) for name, why in queue] for at, queue in enumerate(queues)]
    chosen = asked.choose(wanted, size, budget)
    assert sum(size(key, chosen.each) for key in chosen.why) <= budget
    everything = {key for queue in wanted for key, _ in queue}
    if sum(size(key, 0) for key in everything) <= budget:
        assert set(chosen.why) == everything
        assert chosen.each == 0


@given(
    st.dictionaries(st.tuples(names, names), st.tuples(st.integers(0, 10**6), st.floats(0.1, 9))),
    st.integers(0, 10**7),
)
def test_shares_are_the_budget_and_nobody_in_need_goes_short_of_his(said, budget):
    needs = {key: need for key, (need, _) in said.items()}
    weights = {key: weight for key, (_, weight) in said.items()}
    given_ = asked.shares(budget, needs, weights)
    assert given_.keys() == needs.keys()
    assert sum(given_.values()) <= budget
    for key, need in needs.items():
        fair = budget * weights[key] / sum(weights.values())
        assert given_[key] >= min(need, int(fair)) - 1


@given(st.lists(st.integers(), max_size=70))
def test_an_even_choice_is_all_of_them(values):
    assert sorted(asked.evenly(values)) == sorted(values)


# -- sampling stages ---------------------------------------------------------------------------------------

DATA = {
    "dropped": {"not_correct": 3, "duplicate": 1},
    "examples": {"duplicate": [{"prompt": "p2", "sample": 2, "detail": "of sample 0 to p2"}]},
    "refined": {
        "examples": {"format": [{"sample": "p3/0", "detail": "no tags"}]},
        "unfit": {"format": 1},
    },
}


def fates_of(page):
    drawn = [g for g in groups_in(page)["cold"] if g["split"] == "sampled"]
    return drawn, {
        (g["id"], a["sample"]): (a.get("fate"), a.get("fate_why"))
        for g in drawn
        for a in g["answers"]
    }


def test_a_sampled_answer_says_what_became_of_it(tmp_path):
    root = page_runs.run_folder(tmp_path / "run", recipe=RECIPE)
    kept = [("p1", 0, ""), ("p2", 0, "rules")]
    page_runs.sampled(root, "cold", asked_rows(4, 3), data=DATA, kept=kept)
    page = page_of(tmp_path, root)
    drawn, fates = fates_of(page)
    assert [g["id"] for g in drawn[:2]] == ["p3", "p2"]  # what data.json names comes first
    assert drawn[0]["why"] == ["dropped: format", "even choice"]
    assert fates["p1", 0] == ("kept", None)
    assert fates["p2", 0] == ("kept", "rewritten by rules")
    assert fates["p2", 1] == ("dropped", "not_correct")  # its verdict is the reason
    assert fates["p2", 2] == ("dropped", "duplicate, of sample 0 to p2")
    assert fates["p3", 0] == ("dropped", "format, no tags")
    assert fates["p0", 2] == ("dropped", None)  # right, and no file says why
    assert "Answers of sampling stages: all 12 to 4 questions." in visible(page)


def test_a_verdict_is_no_reason_where_scores_decide(tmp_path):
    recipe = RECIPE + "min_score = 0.5\n"
    root = page_runs.run_folder(tmp_path / "run", recipe=recipe)
    page_runs.sampled(root, "cold", asked_rows(1, 2), data=DATA)
    assert fates_of(page_of(tmp_path, root))[1]["p0", 1] == ("dropped", None)


def test_before_anything_is_chosen_an_answer_has_no_fate(tmp_path):
    root = page_runs.run_folder(tmp_path / "run", recipe=RECIPE)
    page_runs.sampled(root, "cold", asked_rows(1, 2))
    assert set(fates_of(page_of(tmp_path, root))[1].values()) == {(None, None)}


def test_an_answer_that_is_named_is_shown_beyond_the_first_ones(tmp_path):
    rows = [page_runs.held_out_answer("p0", k) for k in range(5)]
    page_runs.lines(tmp_path / "samples.jsonl", rows)
    found = asked.texts(
        asked.Reader(tmp_path),
        tmp_path / "samples.jsonl",
        {"p0": ["why"]},
        ("think", "answer"),
        each=2,
        named={("p0", 4)},
        more=lambda row: {},
    )
    assert [a["sample"] for a in found["p0"]["answers"]] == [0, 1, 4]
    assert found["p0"]["of"] == 5


# -- ledger and mismatch -----------------------------------------------------------------------------------


def test_a_stage_that_changes_one_key_of_data_keeps_the_other_sources(tmp_path):
    recipe = page_runs.RECIPE.replace("steps = 4", 'steps = 4\ndata = { template = "chat" }')
    said = visible(page_of(tmp_path, page_runs.run_folder(tmp_path / "run", recipe=recipe)))
    ledger = said[said.index("Data ledger") :]
    assert "data.train arithmetic countdown" in ledger
    assert "data.template chat" in ledger


def test_a_stage_that_learns_from_its_own_asks_no_problems(tmp_path):
    recipe = RECIPE.replace("[sft]", '[sft]\ndata = { template = "chat" }')
    root = page_runs.run_folder(tmp_path / "run", recipe=recipe)
    page = page_of(tmp_path, root)
    found = re.search(r"<h3>sft</h3>(.*?)</table>", page, re.S)[1]
    assert visible(found) == "asked for train stage:cold data.template chat"


def test_the_mismatch_of_stored_answers_is_said(tmp_path):
    """The keys are those of rl/mismatch.py and stages/off_policy.py."""
    pytest.importorskip("torch")
    from aha.rl.mismatch import CLIP, Mismatch

    def ends(ratio, size):
        return Mismatch(
            answers=256, tokens=9000, mean_log_ratio=ratio, ess_share=size, outside_share=0.125
        ).as_dict()

    root = page_runs.run_folder(tmp_path / "run", recipe=RECIPE)
    (root / "sft").mkdir()
    (root / "sft" / "fingerprint.json").write_text("{}")
    said = {
        "answers": 3000,
        "measured": 256,
        "not_measured": {"other_tokens": 12},
        "clip": CLIP,
        "samplers": [
            {"stage": "zero", "answers": 3000, "temperature": 1.0, "same_template": False}
        ],
        "start": ends(-0.25, 0.5),
        "end": ends(0.125, 0.0625),
    }
    (root / "sft" / "mismatch.json").write_text(json.dumps(said))
    found = visible(page_of(tmp_path, root))
    assert "stored answers: against their sampler (nats/token) -0.25 → 0.125" in found
    assert "effective sample size 50.0 % 6.2 %" in found
    assert "tokens outside the clip 12.5 % 12.5 % answers 256 256 tokens 9,000 9,000" in found
    assert (
        "256 of 3,000 stored answers measured; 12 not, other_tokens; the clip is 1 ± 0.2; 3,000 sampled by "
        "zero at temperature 1, asked in another way." in found
    )
    (root / "sft" / "mismatch.json").write_text(json.dumps(said | {"start": None, "end": None}))
    assert "Not known. 256 of 3,000 stored answers" in visible(page_of(tmp_path, root))


# -- a real browser ----------------------------------------------------------------------------------------

DRIVE = """<script>
const key = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key }));
const now = () => document.querySelector(".detail h3").textContent;
const marked = () => document.querySelector('.same [aria-current="true"]').textContent;
const said = [now(), marked()];
key("l"); said.push(now(), location.hash);
key("l"); key("l"); said.push(now());
key("h"); said.push(now());
key("n"); said.push(now());
document.querySelector(".same button").click(); said.push(now());
const pick = (label, value) => {
  const control = [...document.querySelectorAll(".tools label")].find((one) =>
    one.firstChild.textContent === label).querySelector("select");
  control.value = value; control.dispatchEvent(new Event("change"));
};
pick("asked in", ""); pick("verdict", "open");
said.push(document.querySelector(".browser, #browser > .soft").textContent, now(),
  document.querySelector(".answer-card.open b").textContent);
pick("stage", "cold"); pick("verdict", "kept"); said.push(now());
said.push([...document.querySelectorAll(".answer-card:not(.aside)")].map((one) =>
  one.querySelector(".good").textContent).join());
location.hash = "#run=0&stage=sft&step=3";
const out = document.createElement("pre");
out.id = "said";
setTimeout(() => {
  said.push(now());
  out.textContent = JSON.stringify(said);
  document.body.append(out);
}, 50);
</script>"""


@pytest.mark.slow
@browser
def test_from_model_to_model_at_one_question(tmp_path):
    """Keys, the row of models, verdicts without a right answer, and fates; in a copy without the policy."""
    root = measured_run(tmp_path)
    page_runs.sampled(root, "cold", asked_rows(4, 3), data=DATA, kept=[("p1", 0, "")])
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page_of(tmp_path, root))
    copy = tmp_path / "copy.html"
    copy.write_text(page.replace("</body>", f"{DRIVE}</body>"), "utf-8")
    dom, complaints = browsed(copy, "#run=0&stage=base&split=measured: sums&id=p2")
    assert complaints == []
    said = json.loads(html.unescape(re.search(r'<pre id="said">(.*?)</pre>', dom, re.S)[1]))
    assert said == [
        "base · measured: sums · p2 link",
        "base1 of 2 right",
        "zero · measured: sums · p2 link",
        "#stage=zero&split=measured%3A+sums&run=0&id=p2",
        "sft · measured: sums · p2 link",  # the last: one more does nothing
        "zero · measured: sums · p2 link",
        "zero · measured: sums · p2 link",  # there are no steps to go on to
        "base · measured: sums · p2 link",
        "3 questions with 6 answers",
        "base · measured: talk · p0 link",
        "#0 ○ open",
        "cold · sampled · p1 link",
        "kept",
        "sft · measured: sums · p0 link",  # a stage without steps shows what it has
    ]
