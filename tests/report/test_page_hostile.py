"""Model output is hostile: nothing of it may run, hide or leave its place in the report page.

The corpus goes into every field that a model, a data set, a recipe or an event can fill. Two proofs: the
bytes of the page hold none of it as markup; and a real browser, where there is one, runs none of it.
"""

import html.parser
import json
import re
import shutil
import subprocess

import page_runs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.report.page import report
from aha.report.page.escape import embedded, text

RUN = "document.title='broken';document.body.id='broken'"
CORPUS = {
    "script": f"<script>{RUN}</script>",
    "end of script": f"</script><script>{RUN}</script>",
    "end of style": f"</style><script>{RUN}</script>",
    "comment": f"<!--<script>{RUN}</script>",
    "double escape": f"<!--<script>{RUN}//--></script>",
    "cdata": f"]]><script>{RUN}</script>",
    "image": f'<img src=x onerror="{RUN}">',
    "svg": f"<svg/onload={RUN}>",
    "end of title": f"</title><img src=x onerror={RUN}>",
    "attribute": f'" autofocus onfocus="{RUN}" x="',
    "attribute, single": f"' onmouseover='{RUN}' x='",
    "iframe": f'<iframe srcdoc="<script>parent.{RUN}</script>"></iframe>',
    "address": f"javascript:{RUN}",
    "link": f"[a](javascript:{RUN}) <a href='javascript:{RUN}' id=link>a</a>",
    "refresh": "<meta http-equiv=refresh content='0;url=https://example.org/'>",
    "base": "<base href='https://example.org/'>",
    "style": "<style>body{display:none}</style><link rel=stylesheet href=//example.org/x.css>",
    "clobbering": "<form id=found><input name=textContent></form><img name=getElementById>",
    "entities": f"&lt;script&gt;{RUN}&lt;/script&gt; &#60;img src=x onerror={RUN}&#62;",
    "escapes": f"\\u003cscript\\u003e{RUN}\\u003c/script\\u003e \\x3cscript>",
    "json": f'"}}]}}</script><script>{RUN}</script>',
    "prototype": '{"__proto__": {"href": "javascript:1"}}',
    "line separators": f"\u2028{RUN}\u2029//\n{RUN}",
    "template": "{{constructor.constructor('document.title=1')()}} ${document.title=1} <%= 1 %> {% raw %}",
    "ansi": "\x1b[31mred\x1b[2J\x1b]0;broken\x07\x9b31m",
    "bidi": "\u202e\u2066gnp.exe\u2069 \u200b\u200f\ufeff zero width",
    "control": "\x00\x08\x0c\x7f\r",
    "surrogate": "\ud800 alone",
    "long line": "<" * 20_000 + "x" * 20_000,
    "deep": "<b>" * 2000,
    "utf-7": "+ADw-script+AD4-document.title+AD0-1+ADw-/script+AD4-",
}
ALL = " ".join(value for name, value in CORPUS.items() if name not in ("long line", "deep"))


def hostile_run(root):
    """A run whose every field holds the corpus."""
    page_runs.run_folder(root, steps=2)
    stage = root / "zero"
    groups = []
    for name, bad in CORPUS.items():
        for sample in range(2):
            groups.append(
                page_runs.answer(
                    1, f"{name} {bad}", sample, question=bad, gold=bad, kind=bad, source=bad, lang=bad,
                    domain=bad, area=bad, prefill=bad, text=f"<think>{bad}</think>{bad}", extracted=bad,
                    reason=bad, stopped=bad, status=bad if sample else "correct", parts={bad: 1.0},
                )
            )  # fmt: skip
    page_runs.write_step(stage, 1, groups, advantages=False)
    asked_and_sampled(root)
    named = {f"reward/{bad}/mean": 0.5 for bad in CORPUS.values()} | {ALL: 1.0}
    page_runs.lines(stage / "metrics.jsonl", [page_runs.metrics(1, **named)])
    alert = {
        "event": "alert",
        "step": 1,
        "name": ALL,
        "text": ALL,
        "samples": [[ALL, 0], ["script", 1]],
    }
    page_runs.lines(
        root / "events.jsonl",
        [
            {"event": "start", "stage": "zero"},
            alert,
            {"event": ALL, ALL: ALL},
            {"event": "ended", "error": ALL},
        ],
    )
    (stage / "resolved.json").write_text(json.dumps({ALL: ALL}))
    (stage / "eval" / "step_000002" / "result.json").write_text(
        json.dumps({"numbers": {}, "by": {"domain": {ALL: {"pass_at_1": 0.5}, "b": {}}}})
    )
    (root / "env.json").write_text(json.dumps({"platform": ALL, "commit": ALL, ALL: ALL}))
    quoted = json.dumps(re.sub("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "", ALL))
    (root / "recipe.toml").write_text(
        f"name = {quoted}\nseed = {quoted}\n[model]\npath = {quoted}\n[data]\ntrain = {quoted}\n[zero]\n"
        f'[stage.{quoted}]\nkind = {quoted}\nstart = "stage:zero"\n',
        "utf-8",
    )
    return root


def asked_and_sampled(root):
    """Measured answers, those of a sampling stage and stored ones, with the corpus in every field."""
    rows, kept = [], []
    for name, bad in CORPUS.items():
        for sample in range(3):
            rows.append(
                page_runs.held_out_answer(
                    f"{name} {bad}", sample, question=bad, gold=bad, kind=bad, lang=bad, domain=bad,
                    area=bad, prefill=bad, response=f"<think>{bad}</think>{bad}", extracted=bad, reason=bad,
                    stopped=bad, status=("correct", "open", bad)[sample],
                )
            )  # fmt: skip
        kept.append((f"{name} {bad}", 0, bad))
    said = {"form": False, "language": 0.5, "reflection": 3, "vote": ALL, "judged": False, ALL: ALL}
    facts = [{"problem": row["problem"], "sample": row["sample"]} | said for row in rows]
    for model in ("base", "zero"):
        for source in ("sums", CORPUS["image"], CORPUS["bidi"]):
            page_runs.measured(root, model, source, rows, facts)
    examples = [
        {"prompt": row["problem"], "sample": 1, "detail": row["question"], "text": row["response"]}
        for row in rows
    ]
    data = {
        "examples": {bad: examples[3 * at :][:1] for at, bad in enumerate(CORPUS.values())},
        "dropped": {"not_correct": 3, **dict.fromkeys(CORPUS.values(), 1)},
        "refined": {"examples": {ALL: [{"sample": f"{ALL}/1", "detail": ALL}]}, "unfit": ALL},
        ALL: ALL,
        "first": list(CORPUS.values()),
    }
    page_runs.sampled(root, "zero", rows, data=data, kept=kept)
    sampler = {"stage": ALL, "answers": ALL, "temperature": ALL, "same_template": ALL}
    (root / "zero" / "mismatch.json").write_text(
        json.dumps(
            {
                "answers": ALL,
                "measured": 3,
                "not_measured": {ALL: ALL},
                "clip": ALL,
                "samplers": [sampler, ALL],
                "start": {"mean_log_ratio": 0.5, "ess_share": ALL, ALL: ALL},
                "end": ALL,
            }
        )
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    out = folder / "report.html"
    report([hostile_run(folder / "run")], out)
    return out


class Tags(html.parser.HTMLParser):
    """Names, attributes and raw contents of what a parser of HTML sees as markup."""

    def __init__(self):
        super().__init__()
        self.names, self.attributes = set(), set()
        self.scripts, self.comments = 0, 0

    def handle_starttag(self, tag, attributes):
        self.names.add(tag)
        self.attributes |= {name for name, _ in attributes}
        self.scripts += tag == "script"

    def handle_comment(self, data):
        self.comments += 1


def parsed(page):
    tags = Tags()
    tags.feed(page)
    return tags


def test_markup_is_that_of_a_harmless_run(page, tmp_path):
    """The same tags, attributes and scripts as the page of a run without anything hostile in it."""
    root = page_runs.run_folder(tmp_path / "run")
    (root / "zero" / "data.json").write_text("{}")
    report([root], tmp_path / "report.html")
    good = parsed((tmp_path / "report.html").read_text("utf-8"))
    bad = parsed(page.read_text("utf-8"))
    assert bad.names <= good.names | {"br", "h4"}
    assert bad.attributes <= good.attributes
    assert (bad.scripts, bad.comments) == (good.scripts, good.comments) == (2, 0)


def test_no_character_hides_or_reorders(page):
    found = page.read_text("utf-8")
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]", found
    )
    assert not re.search("[\u2028\u2029\ud800-\udfff]", found)
    assert re.search(r'"hidden":\d+', found)  # and the reader is told that there were some


def test_the_data_block_ends_where_it_should(page):
    block = re.search(
        r'<script type="application/json" id="found">(.*?)</script>', page.read_text(), re.S
    )
    assert "<" not in block[1]
    stages = json.loads(block[1])["runs"][0]["stages"]
    groups = {stage["name"]: stage["groups"] for stage in stages}
    for split in ("training", "measured: sums", "sampled"):
        questions = {group["question"] for group in groups["zero"] if group["split"] == split}
        assert CORPUS["end of script"] in questions  # word for word, as text
        assert CORPUS["json"] in questions
    assert CORPUS["script"] in {group["question"] for group in groups["base"]}
    fates = {
        a.get("fate_why", "")
        for g in groups["zero"]
        if g["split"] == "sampled"
        for a in g["answers"]
    }
    assert f"rewritten by {CORPUS['script']}" in fates
    assert (
        f"{CORPUS['script']}, {CORPUS['script']}" in fates
    )  # dropped: its reason and more about it


def test_links_go_to_places_in_the_page(page):
    for target in re.findall(r'href="([^"]*)"', page.read_text("utf-8")):
        assert re.fullmatch(r"#[\w%.~&;=-]*", target), target


@settings(max_examples=200)
@given(st.text())
def test_any_text_is_one_text_node(value):
    tags = parsed(f"<p>{text(value)}</p>")
    assert (tags.names, tags.comments) == ({"p"}, 0)
    assert '"' not in text(value)


@settings(max_examples=200)
@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_value_comes_back_from_the_page(value):
    found = embedded(value)
    assert not set("<>&\u2028\u2029") & set(found)
    assert json.loads(found) == value


def test_no_number_that_is_not_json():
    with pytest.raises(ValueError, match="JSON compliant"):
        embedded([float("nan")])


# -- a real browser ----------------------------------------------------------------------------------------

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


def browsed(path, place=""):
    """(the document after its scripts have run, what the browser complained of)."""
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            f"--user-data-dir={path.parent / 'profile'}", "--enable-logging=stderr",
            "--virtual-time-budget=4000", "--dump-dom", f"file://{path}{place}",
        ],
        capture_output=True, timeout=120,
    )  # fmt: skip
    said = done.stderr.decode("utf-8", "replace")
    return done.stdout.decode("utf-8", "replace"), [
        line for line in said.splitlines() if "CONSOLE" in line
    ]


@pytest.mark.slow
@browser
def test_the_corpus_runs_in_a_page_that_does_not_escape(tmp_path):
    """Else the next test would prove nothing."""
    ran = []
    for name in ("script", "image", "svg", "end of script", "end of title"):
        path = tmp_path / "open.html"
        path.write_text(f"<!doctype html><title>whole</title><body>{CORPUS[name]}</body>")
        ran.append("<title>broken</title>" in browsed(path)[0])
    assert all(ran)


@pytest.mark.slow
@browser
@pytest.mark.parametrize(
    "place",
    [
        "",
        "#run=0&stage=zero&step=1&split=training",
        f"#text={CORPUS['image']}&step=1",
        f"#stage=base&split=measured: {CORPUS['image']}",
        "#run=0&stage=zero&split=sampled&status=dropped",
    ],
)
def test_the_corpus_does_not_run_in_the_report(page, place):
    dom, complaints = browsed(page, place)
    assert re.search(r"<title>Run: run</title>", dom)
    assert 'id="broken"' not in dom
    tags = parsed(dom)
    assert not tags.names & {"iframe", "img", "form", "base", "link", "object", "embed"}
    assert not {name for name in tags.attributes if name.startswith("on")}
    assert "answer-card" in dom  # our own script did run
    assert complaints == []  # no violation of the policy, no error


@pytest.mark.slow
@browser
def test_every_answer_of_the_corpus_is_shown_as_text(page):
    places = ["step=1", "step=1", "split=measured: sums", "split=sampled", "step=1"]
    names = ("script", "end of script", "image", "template", "comment")
    for name, place in zip(names, places, strict=True):
        dom, _ = browsed(page, f"#run=0&stage=zero&{place}&text={name}%20")
        shown = re.search(r'<p class="question" dir="auto">(.*?)</p>', dom, re.S)[1]
        assert html.unescape(re.sub("</?mark>", "", shown)) == CORPUS[name], name


@pytest.mark.slow
@browser
def test_an_address_opens_the_nearest_step_that_is_there(tmp_path):
    out = tmp_path / "report.html"
    report([page_runs.run_folder(tmp_path / "small")], out)
    dom, complaints = browsed(out, "#run=0&stage=zero&step=9")
    assert "No answer of step 9 is in this page" in dom
    assert re.search(r"zero · step 4 · training", dom)
    assert complaints == []


DRIVE = """<script>
const key = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key }));
const now = () => document.querySelector(".detail h3").textContent;
const said = [now()];
key("j"); said.push(now());
key("k"); said.push(now());
key("n"); said.push(now(), location.hash);
key("t"); said.push(String([...document.querySelectorAll(".answer-card details")].every((d) => d.open)));
const chart = document.querySelector("figure.chart"), drawn = chart.querySelector(":scope > svg");
const box = drawn.getBoundingClientRect();
drawn.dispatchEvent(new PointerEvent("pointermove", { clientX: box.right - 2, clientY: box.top + 9 }));
said.push(chart.querySelector(".tip").textContent);
drawn.dispatchEvent(new MouseEvent("click", { bubbles: true })); said.push(now());
[...document.querySelectorAll(".tools button")].find((one) => one.textContent === "clear").click();
const search = document.querySelector("input[type=search]");
search.value = "thought 3/r3/1"; search.dispatchEvent(new Event("input")); said.push(now());
said.push(document.querySelector("mark").textContent);
const out = document.createElement("pre");
out.id = "said";
out.textContent = JSON.stringify(said);
document.body.append(out);
</script>"""


@pytest.mark.slow
@browser
def test_keys_chart_and_search(tmp_path):
    """Driven by a script of the test, in a copy of the page without its policy."""
    out = tmp_path / "report.html"
    report([page_runs.run_folder(tmp_path / "small")], out)
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", out.read_text("utf-8"))
    copy = tmp_path / "copy.html"
    copy.write_text(page.replace("</body>", f"{DRIVE}</body>"), "utf-8")
    dom, complaints = browsed(copy, "#run=0&stage=zero&split=training&step=1")
    assert complaints == []
    said = json.loads(html.unescape(re.search(r'<pre id="said">(.*?)</pre>', dom, re.S)[1]))
    assert said == [
        "zero · step 1 · training · q1 link",
        "zero · step 1 · training · r1 link",
        "zero · step 1 · training · q1 link",
        "zero · step 2 · training · q2 link",
        "#run=0&stage=zero&split=training&step=2&id=q2",
        "true",
        "step 4held-out pass@1 0.75held-out pass@1, low 0.65held-out pass@1, high 0.85reward 0.54"
        "right in training 0.25",
        "zero · step 4 · training · q4 link",
        "zero · step 3 · training · r3 link",
        "thought 3/r3/1",
    ]
