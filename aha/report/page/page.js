"use strict";
// Everything shown is made of elements and text nodes: no text from a run is ever read as HTML.
(() => {
  const LISTED = 300;
  const SIGN = { correct: "✓", wrong: "✗", unparsed: "?", open: "○", timeout: "⏱", error: "!" };
  const SIDE_BY_SIDE = 80;

  const make = (tag, name, ...inner) => {
    const found = document.createElement(tag);
    if (name) found.className = name;
    for (const one of inner) if (one !== null && one !== undefined && one !== "") found.append(one);
    return found;
  };
  const short = (value) => Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));

  // -- light and dark ------------------------------------------------------------------------------------
  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // -- charts: values under the pointer or the arrow keys ----------------------------------------------------
  for (const figure of document.querySelectorAll("figure.chart")) {
    const drawn = figure.querySelector(":scope > svg"), cursor = figure.querySelector(".cursor");
    const names = [...figure.querySelectorAll("th")].map((cell) => cell.textContent);
    const rows = [...figure.querySelectorAll("tbody tr")];
    const facts = ["left", "right", "width", "first", "last"].map((name) => Number(figure.dataset[name]));
    const [left, right, width, first, last] = facts;
    const steps = rows.map((row) => Number(row.cells[0].textContent));
    const tip = make("div", "tip");
    let at = -1;
    const place = (step) => last > first ? left + (right - left) * (step - first) / (last - first)
      : (left + right) / 2;
    const show = (number) => {
      at = Math.max(0, Math.min(steps.length - 1, number));
      const x = place(steps[at]), cells = [...rows[at].cells].map((cell) => cell.textContent);
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      cursor.classList.add("on");
      tip.replaceChildren(...names.flatMap((name, i) => cells[i] ? [make("div", "", `${name} ${cells[i]}`)] : []));
      if (!tip.parentNode) figure.append(tip);
      const box = drawn.getBoundingClientRect(), around = figure.getBoundingClientRect();
      const pixels = box.left - around.left + x / width * box.width;
      const room = around.width - pixels - 12;
      tip.style.left = `${room > tip.offsetWidth ? pixels + 10 : Math.max(0, pixels - tip.offsetWidth - 10)}px`;
      tip.style.top = `${box.top - around.top + 8}px`;
    };
    const hide = () => { cursor.classList.remove("on"); tip.remove(); };
    drawn.addEventListener("pointermove", (event) => {
      const box = drawn.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * width;
      let best = 0;
      steps.forEach((step, i) => {
        if (Math.abs(place(step) - x) < Math.abs(place(steps[best]) - x)) best = i;
      });
      show(best);
    });
    drawn.addEventListener("pointerleave", hide);
    figure.addEventListener("blur", hide);
    const open = () => {
      if (at >= 0 && figure.dataset.stage) {
        go({ run: figure.dataset.run, stage: figure.dataset.stage, step: String(steps[at]) });
      }
    };
    drawn.addEventListener("click", open);
    figure.addEventListener("keydown", (event) => {
      if (event.target !== figure) return;
      if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
        show(at + (event.key === "ArrowRight" ? 1 : -1));
        event.preventDefault();
      } else if (event.key === "Enter") open();
    });
  }

  // -- answers -----------------------------------------------------------------------------------------------
  const found = JSON.parse(document.getElementById("found").textContent);
  const all = [];
  found.runs.forEach((run, number) => run.stages.forEach((stage, at) => stage.groups.forEach((group) => {
    all.push({ run: String(number), stage: stage.name, at, ...group });
  })));
  const stepped = (group) => group.step !== undefined;
  all.sort((a, b) => a.run - b.run || a.at - b.at || stepped(b) - stepped(a)
    || (stepped(a) ? a.step - b.step : 0));
  // the same question asked in the same place of other models, or at other steps
  const sameKey = (group) => JSON.stringify([group.split, group.id, group.question]);
  const same = new Map();
  for (const group of all) {
    const key = sameKey(group);
    if (!same.has(key)) same.set(key, []);
    same.get(key).push(group);
  }
  const browser = document.getElementById("browser");
  if (!browser || !all.length) return;
  browser.hidden = false;

  const wide = { run: "", stage: "", split: "", step: "", domain: "", status: "", why: "", low: "", high: "",
    text: "" };
  let wanted = { ...wide }, matching = [], current = null, unfolded = false, limit = LISTED;

  const controls = {};
  const tools = make("div", "tools");
  const choice = (key, label, values) => {
    const control = make("select");
    for (const [value, name] of [["", "all"], ...values]) {
      const option = make("option", "", name);
      option.value = value;
      control.append(option);
    }
    control.addEventListener("change", () => { wanted[key] = control.value; changed(); });
    controls[key] = control;
    tools.append(make("label", "", label, control));
  };
  const field = (key, label, type, hint) => {
    const control = make("input");
    control.type = type;
    if (type === "number") control.step = "any";
    control.placeholder = hint;
    control.addEventListener("input", () => { wanted[key] = control.value; changed(); });
    controls[key] = control;
    tools.append(make("label", "", label, control));
  };
  const values = (of) => [...new Set(all.flatMap(of))].filter((value) => value !== "" && value !== undefined);
  const named = (of) => values(of).sort().map((value) => [value, value]);
  if (found.runs.length > 1) choice("run", "run", found.runs.map((run, i) => [String(i), run.label]));
  choice("stage", "stage", values((g) => g.stage).map((name) => [name, name]));
  choice("split", "asked in", named((g) => g.split));
  choice("step", "step", values((g) => g.step).sort((a, b) => a - b).map((s) => [String(s), String(s)]));
  choice("domain", "domain", named((g) => [g.area, g.domain]));
  choice("status", "verdict", [...Object.keys(SIGN).map((name) => [name, `${SIGN[name]} ${name}`]),
    ["length", "cut at the cap"], ["hidden", "with hidden characters"],
    ...named((g) => g.answers.map((answer) => answer.fate)).filter(([fate]) => fate === "kept" || fate === "dropped")]);
  choice("why", "here because", named((g) => g.why));
  field("low", "reward from", "number", "least");
  field("high", "to", "number", "most");
  field("text", "search", "search", "in questions and answers");
  const button = (label, act) => {
    const control = make("button", "", label);
    control.type = "button";
    control.addEventListener("click", act);
    return control;
  };
  tools.append(button("clear", () => go({})), button("keys ?", () => { help.hidden = !help.hidden; }));
  const help = make("div", "help");
  help.hidden = true;
  for (const [keys, what] of [["j k", "next, previous question"], ["n p", "next, previous step"],
    ["l h", "the same question: next, previous model or step"],
    ["t", "unfold or fold all thinking"], ["/", "search"], ["Esc", "leave a field"], ["?", "these keys"]]) {
    help.append(...keys.split(" ").map((key) => make("kbd", "", key)), ` ${what}   `);
  }
  const count = make("p", "soft"), list = make("div", "list"), detail = make("div", "detail");
  count.setAttribute("aria-live", "polite");
  browser.append(tools, help, count, make("div", "browse", list, detail));

  const fits = (answer) => {
    if (wanted.status === "length" ? answer.stopped !== "length" : wanted.status === "hidden" ? !answer.hidden
      : wanted.status && answer.status !== wanted.status && answer.fate !== wanted.status) return false;
    if (wanted.low !== "" && !(answer.reward >= Number(wanted.low))) return false;
    return wanted.high === "" || answer.reward <= Number(wanted.high);
  };
  const holds = (value) => Boolean(value) && value.toLowerCase().includes(wanted.text.toLowerCase());
  const says = (answer) => [answer.think, answer.text, answer.extracted, answer.reason, answer.fate_why,
    answer.measured].some(holds);
  const keep = (group) => {
    for (const key of ["run", "stage", "split"]) if (wanted[key] && group[key] !== wanted[key]) return false;
    if (wanted.step && String(group.step) !== wanted.step) return false;
    if (wanted.domain && group.domain !== wanted.domain && group.area !== wanted.domain) return false;
    if (wanted.why && !group.why.includes(wanted.why)) return false;
    const asked = !wanted.text || [group.question, group.gold, group.id].some(holds);
    return group.answers.some((answer) => fits(answer) && (asked || says(answer)));
  };

  const write = () => {
    const query = new URLSearchParams();
    for (const [key, value] of Object.entries(wanted)) if (value !== "") query.set(key, value);
    if (current) {
      for (const key of ["run", "stage", "split", "step", "id"]) {
        if (current[key] !== undefined) query.set(key, String(current[key]));
      }
    }
    try { history.replaceState(null, "", `#${query}`); } catch { /* a viewer without history */ }
    return `#${query}`;
  };

  // `shown`: a group, or the id of one
  const changed = (shown = "", quiet = false) => {
    for (const [key, control] of Object.entries(controls)) if (control.value !== wanted[key]) {
      control.value = wanted[key];
    }
    matching = all.filter(keep);
    limit = LISTED;
    const answers = matching.reduce((sum, group) => sum + group.answers.length, 0);
    count.textContent = `${matching.length} questions with ${answers} answers`;
    current = (shown && matching.find((group) => group === shown || group.id === shown)) || matching[0] || null;
    listed();
    show(quiet);
  };

  const signs = (group) => group.answers.map((answer) => SIGN[answer.status] || "·").join("");
  const right = (group) => group.judged === undefined ? "" : `${group.right} of ${group.judged} right`;
  const listed = () => {
    const at = matching.indexOf(current);
    while (at >= limit) limit += LISTED;
    list.replaceChildren(...matching.slice(0, limit).map((group) => {
      const paid = group.answers.map((a) => a.reward).filter((r) => typeof r === "number");
      const mean = paid.length ? `reward ${short(paid.reduce((a, b) => a + b, 0) / paid.length)}`
        : right(group) || group.split;
      const where = [wanted.stage ? "" : group.stage, stepped(group) ? `step ${group.step}` : group.split];
      const row = button("", () => { current = group; listed(); show(); });
      row.append(make("span", "top", make("span", "", where.filter(Boolean).join(" · ")), make("span", "", mean)),
        make("span", "what", group.question || group.id), make("span", "signs", signs(group)));
      row.setAttribute("aria-current", String(group === current));
      return row;
    }));
    if (matching.length > limit) {
      list.append(button(`${matching.length - limit} more`, () => { limit += LISTED; listed(); }));
    }
    const chosen = list.querySelector('[aria-current="true"]');
    if (chosen) list.scrollTop = Math.max(0, chosen.offsetTop - list.offsetTop - list.clientHeight / 3);
  };

  const marked = (tag, name, value) => {
    const out = make(tag, name);
    out.dir = "auto";
    const text = wanted.text.toLowerCase(), below = value.toLowerCase();
    if (!text || below.length !== value.length) {
      out.append(value);
      return out;
    }
    let from = 0;
    for (let at = below.indexOf(text); at >= 0; at = below.indexOf(text, from)) {
      out.append(value.slice(from, at), make("mark", "", value.slice(at, at + text.length)));
      from = at + text.length;
    }
    out.append(value.slice(from));
    return out;
  };

  const card = (answer, group) => {
    const box = make("article", `answer-card${fits(answer) ? "" : " aside"}`);
    if (answer.status in SIGN) box.classList.add(answer.status);
    const head = make("div", "head", make("b", "", `#${answer.sample ?? "?"} ${SIGN[answer.status] || "·"} ${answer.status || ""}`));
    if (typeof answer.reward === "number") head.append(make("span", "", `reward ${short(answer.reward)}`));
    else if (group.split === "training") head.append(make("span", "bad", "no reward: grader failed"));
    if (typeof answer.advantage === "number") {
      head.append(make("span", "", `advantage ${answer.advantage > 0 ? "+" : ""}${short(answer.advantage)}`));
    }
    if (answer.tokens !== undefined) head.append(make("span", "soft", `${answer.tokens} tokens`));
    if (answer.stopped === "length") head.append(make("span", "bad", "cut at the cap"));
    if (answer.fate) head.append(make("span", answer.fate === "kept" ? "good" : "bad", answer.fate));
    if (answer.hidden) head.append(make("span", "bad", `${answer.hidden} hidden characters taken out`));
    box.append(head);
    if (answer.think) {
      const folded = make("details", "", make("summary", "", `thinking, ${answer.think.length} characters`),
        marked("pre", "", answer.think));
      folded.open = unfolded || Boolean(wanted.text && holds(answer.think)) || !answer.text;
      box.append(folded);
    }
    if (answer.text) box.append(marked("pre", "", answer.text));
    const facts = make("dl", "");
    const fact = (name, value) => facts.append(make("dt", "", name), marked("dd", "", value));
    fact("extracted", answer.extracted ?? "nothing");
    fact("gold", group.gold || "–");
    if (answer.reason) fact("reason", answer.reason);
    const parts = Object.entries(answer.parts || {});
    if (answer.fate_why) fact(answer.fate, answer.fate_why);
    if (answer.measured) fact("measured", answer.measured);
    if (parts.length) fact("parts", parts.map(([name, value]) => `${name} ${short(value)}`).join(", "));
    box.append(facts);
    return box;
  };

  // what the other models, or the same one at other steps, made of the question that is shown
  const besides = () => {
    const others = same.get(sameKey(current));
    if (others.length < 2) return null;
    const at = others.indexOf(current);
    const from = Math.max(0, Math.min(at - SIDE_BY_SIDE / 2, others.length - SIDE_BY_SIDE));
    return make("div", "same", make("span", "soft", "the same question at"),
      ...others.slice(from, from + SIDE_BY_SIDE).map((group) => {
        const label = [found.runs.length > 1 ? found.runs[group.run].label : "", group.stage,
          stepped(group) ? `step ${group.step}` : ""].filter(Boolean).join(" · ");
        const row = button("", () => jump(group));
        row.append(make("span", "", label), make("span", "signs", right(group) || signs(group)));
        row.setAttribute("aria-current", String(group === current));
        return row;
      }));
  };

  const show = (quiet = false) => {
    if (!current) {
      detail.replaceChildren(make("p", "soft", "No answer in this page fits."));
      if (!quiet) write();
      return;
    }
    const run = found.runs.length > 1 ? `${found.runs[current.run].label} · ` : "";
    const link = make("a", "", "link");
    if (!quiet) link.href = write();
    const place = [current.stage, stepped(current) ? `step ${current.step}` : "", current.split, current.id];
    const title = make("h3", "", `${run}${place.filter(Boolean).join(" · ")} `, link);
    const tags = make("div", "");
    const { kind, area, domain, lang, source, why } = current;
    for (const one of new Set([kind, area, domain, lang, source, ...why, right(current)])) {
      if (one) tags.append(make("span", "tag", one));
    }
    const more = current.of > current.answers.length
      ? make("p", "soft", `${current.answers.length} of its ${current.of} answers are in this page`) : null;
    detail.replaceChildren(...[title, tags, besides(), marked("p", "question", current.question || ""), more].filter(Boolean),
      make("div", "answers", ...current.answers.map((answer) => card(answer, current))));
  };

  const move = (by) => {
    const at = matching.indexOf(current) + by;
    if (at < 0 || at >= matching.length) return;
    current = matching[at];
    listed();
    show();
  };
  const jump = (group) => {
    const place = { run: found.runs.length > 1 ? group.run : "", stage: group.stage, split: group.split,
      step: stepped(group) ? String(group.step) : "" };
    for (const key of Object.keys(place)) if (wanted[key]) wanted[key] = place[key];
    if (!keep(group)) wanted = { ...wide, ...place };
    changed(group);
  };
  const beside = (by) => {
    const others = current ? same.get(sameKey(current)) : [];
    const next = others[others.indexOf(current) + by];
    if (next) jump(next);
  };
  const step = (by) => {
    if (!current || !stepped(current)) return;
    const steps = [...new Set(all.filter((g) => stepped(g) && g.run === current.run && g.stage === current.stage
      && (!wanted.split || g.split === wanted.split)).map((g) => g.step))].sort((a, b) => a - b);
    const next = steps[steps.indexOf(current.step) + by];
    if (next === undefined) return;
    wanted = { ...wanted, run: current.run, stage: current.stage, step: String(next) };
    changed();
  };

  // -- addresses: #run=0&stage=zero&step=12&id=... -----------------------------------------------------------
  function go(to, quiet = false) {
    wanted = { ...wide };
    for (const [key, value] of Object.entries(to)) if (key in wide) wanted[key] = String(value);
    if (found.runs.length < 2) wanted.run = "";
    let note = "";
    if (wanted.step) {
      const there = all.filter((g) => stepped(g) && (!wanted.run || g.run === wanted.run)
        && (!wanted.stage || g.stage === wanted.stage) && (!wanted.split || g.split === wanted.split));
      if (!there.length) {
        note = "No answer of this stage that belongs to a step is in this page. ";
        wanted.step = "";
      } else if (!there.some((g) => String(g.step) === wanted.step)) {
        const asked = Number(wanted.step);
        const near = there.reduce((a, b) => Math.abs(b.step - asked) < Math.abs(a.step - asked) ? b : a).step;
        note = `No answer of step ${wanted.step} is in this page; these are of the nearest step. `;
        wanted.step = String(near);
      }
    }
    changed(to.id, quiet);
    count.textContent = note + count.textContent;
    if (!quiet) document.getElementById("answers").scrollIntoView();
  }
  const follow = () => {
    const said = location.hash.slice(1);
    if (said.includes("=")) go(Object.fromEntries(new URLSearchParams(said)));
  };
  addEventListener("hashchange", follow);
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLElement && event.target.matches("input, select, textarea");
    if (event.key === "Escape" && typing) event.target.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = { j: () => move(1), k: () => move(-1), n: () => step(1), p: () => step(-1),
      l: () => beside(1), h: () => beside(-1),
      t: () => { unfolded = !unfolded; show(); }, "?": () => { help.hidden = !help.hidden; },
      "/": () => controls.text.focus() };
    if (acts[event.key]) {
      acts[event.key]();
      event.preventDefault();
    }
  });
  go({}, true);
  follow();
})();
