// One completion, or two beside each other, over the page.

import { count, el, fill, folded, longText, number, signed } from "./dom.js";
import { ask, exported } from "./source.js";
import { KINDS, kindOf, mark } from "./marks.js";

const panel = document.getElementById("reader");
const shown = { wants: 0, close: null, step: null, thoughtsOpen: false };

export function isReading() {
  return !panel.hidden;
}

// Opens the panel with what `columns` ({ title, path, make }) get; `step(by)` goes to the next failing one.
export async function read({ title, columns, step, closed }) {
  const wanted = ++shown.wants;
  shown.close = closed;
  shown.step = step;
  panel.classList.toggle("two", columns.length > 1);
  const places = columns.map((column) => el("section", { class: "column" }, el("p", { class: "quiet", text: "…" })));
  const heading = el("h2", { text: title, tabindex: "-1" });
  fill(
    panel,
    el(
      "div",
      { class: "top" },
      heading,
      el("button", { type: "button", text: "← p", title: "The failing one before (p)", "aria-label": "previous failing", onclick: () => step(-1) }),
      el("button", { type: "button", text: "n →", title: "The next failing one (n)", "aria-label": "next failing", onclick: () => step(1) }),
      el("button", { type: "button", text: "✕", title: "Close (Escape)", "aria-label": "close", onclick: close }),
    ),
    el("div", { class: "columns" }, places),
  );
  const first = panel.hidden;
  panel.hidden = false;
  document.body.classList.add("reading");
  if (first) panel.focus({ preventScroll: true });
  panel.scrollTop = 0;
  await Promise.all(
    columns.map(async (column, index) => {
      try {
        const answer = await ask(column.path);
        if (wanted === shown.wants) fill(places[index], column.make(answer));
      } catch (error) {
        if (wanted === shown.wants) {
          fill(places[index], column.title ? el("h3", { text: column.title }) : null, el("p", { class: "fault", text: error.message }));
        }
      }
    }),
  );
}

export function close() {
  if (panel.hidden) return;
  shown.wants += 1;
  panel.hidden = true;
  document.body.classList.remove("reading");
  panel.replaceChildren();
  if (shown.close) shown.close();
}

export function readerKey(event) {
  if (panel.hidden) return false;
  if (event.key === "Escape") close();
  else if (event.key === "n" || event.key === "p") shown.step(event.key === "n" ? 1 : -1);
  else if (event.key === "t") foldThoughts();
  else if (event.key === "Home" || event.key === "End") panel.scrollTop = event.key === "Home" ? 0 : panel.scrollHeight;
  else return false;
  return true;
}

function foldThoughts() {
  shown.thoughtsOpen = !shown.thoughtsOpen;
  for (const thought of panel.querySelectorAll("details.thought")) thought.open = shown.thoughtsOpen;
}

// A completion of an evaluation.
export function completionColumn(title, path, explainPath) {
  return {
    title,
    path,
    make: (found) => [
      title ? el("h3", { text: title }) : null,
      verdict(found),
      found.fault ? el("p", { class: "fault", text: found.fault }) : null,
      facts([
        ["extracted", found.extracted === null ? "nothing" : found.extracted, "answer"],
        ["reference", found.asked.reference, "answer"],
        ["why", found.reason],
        ["form", found.format_fault],
        ["tests passed", found.total > 1 ? `${found.passed} of ${found.total}` : null],
        ["length", `${found.tokens === null ? "" : `${count(found.tokens, "token")}, `}${count(found.characters, "character")}; ended by ${found.stop_reason}`],
        ["level", found.asked.level],
      ]),
      found.explainable && exported === null ? explain(explainPath) : null,
      found.test ? failing(found.test) : null,
      prompt(found.asked.prompt, found.asked),
      written(found.parts),
    ],
  };
}

export function verdict(found) {
  const kind = kindOf(found.outcome, found.flags ?? (found.truncated ? 1 : 0));
  return el("p", { class: `verdict ${kind}` }, mark(kind), " ", el("b", { text: found.outcome }), kind === found.outcome || kind === "wrong" ? "" : `: ${KINDS[kind]}`);
}

export function facts(rows) {
  const told = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", {}, told.map(([name, value, kind]) => el("div", {}, el("dt", { text: name }), el("dd", { text: String(value), class: kind, dir: "auto" }))));
}

export function prompt(messages, asked) {
  if (!messages.length) return null;
  return folded("the prompt", () => [
    messages.map(([role, content]) => [el("div", { class: "label", text: role }), longText(content)]).flat(),
    asked && asked.facts ? facts([...asked.facts, ["tokens", asked.tokens], ["tests", asked.tests || null]]) : null,
    asked && asked.tail ? [el("div", { class: "label", text: "end of the prompt after the chat template" }), longText(asked.tail.slice(-400))] : null,
  ].flat().filter(Boolean));
}

export function written(parts) {
  if (!parts.length) return el("p", { class: "quiet", text: "The completion is empty." });
  return parts.map(([kind, text, leftOut, tail]) => {
    const made = (given) => [longText(text, given), leftOut ? [cutNote(leftOut), longText(tail, given)] : null].flat().filter(Boolean);
    if (kind !== "thought") return made({ class: "answered" });
    const long = text.length + (leftOut || 0) + (tail || "").length;
    const node = folded(`thinking, ${count(long, "character")}`, () => made({}), { class: "thought" });
    if (shown.thoughtsOpen) node.open = true;
    return node;
  });
}

function cutNote(leftOut) {
  return el("div", { class: "cut", text: `${count(leftOut, "character")} left out` });
}

function explain(path) {
  const place = el("div", { class: "explained" });
  const button = el("button", { type: "button", text: "Which rule decided?" });
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = "asking the verifier…";
    try {
      const found = await ask(path);
      fill(place, el("pre", { class: "text rule", text: found.lines.join("\n") }));
    } catch (error) {
      fill(place, el("p", { class: "fault", text: error.message }));
    }
  });
  place.append(button);
  return place;
}

function failing(test) {
  const names = { stdin: "input", stdout: "expected output", call: "call", args: "arguments", expected: "expected", code: "assertion" };
  return el(
    "div",
    { class: "test" },
    el("div", { class: "label", text: `the test that failed: ${test.number} of ${test.of}` }),
    test.note ? el("p", { class: "quiet", text: test.note }) : null,
    test.fields.map(([name, head, leftOut, tail]) => [
      el("div", { class: "label", text: names[name] || name }),
      el("pre", { class: "text" }, head, leftOut ? cutNote(leftOut) : null, tail),
    ]),
  );
}

// A rollout of an iteration, its tokens coloured by where the clip acts.
export function rolloutColumn(path, clipPath, band) {
  return {
    path,
    make: (found) => {
      const place = el("div", {});
      const draw = (coloured, said) => fill(place, el("p", { class: "quiet", text: said }), coloured ? legend(band) : null, tokens(found, coloured));
      draw(found.before, beforeSaid(found, band));
      return [
        verdict(found),
        facts([
          ["reward", `${number(found.reward, 4)}  ${found.reward_parts === "{}" ? "" : found.reward_parts}`],
          ["advantage", found.advantage === null ? "in no update" : signed(found.advantage, 3)],
          ["extracted", found.extracted === null ? "nothing" : found.extracted, "answer"],
          ["reference", found.reference, "answer"],
          ["why", found.reason],
          ["form", found.format_fault],
          ["tests passed", found.total > 1 ? `${found.passed} of ${found.total}` : null],
          ["length", `${count(found.length, "token")}${found.truncated ? ", stopped by length" : ""}`],
          ["policy version", found.policy_version],
        ]),
        prompt(found.prompt),
        found.has_weights && found.before && exported === null ? clipButton(clipPath, (answer) => draw(answer.after, AFTER)) : null,
        place,
        found.tokens ? folded("the text as it was read", () => written(found.parts)) : null,
      ];
    },
  };
}

const AFTER = "Coloured by the ratio of the policy after this iteration's updates to the one before them.";

function beforeSaid(found, band) {
  if (!band) return "The objective has no band on a token's ratio, or its recipe cannot be read: nothing is coloured.";
  if (!found.before) return "This rollout was in no update: nothing is coloured.";
  return "Coloured by the ratio of the policy before this iteration's updates to the one that sampled each token.";
}

function clipButton(path, done) {
  const button = el("button", { type: "button", text: "Colour by the ratio after the updates", title: "Loads the checkpoint of this iteration" });
  const place = el("div", { class: "explained" }, button);
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = "loading the weights…";
    try {
      done(await ask(path));
      place.remove();
    } catch (error) {
      fill(place, el("p", { class: "fault", text: error.message }));
    }
  });
  return place;
}

function legend(band) {
  const [low, high] = band.map((edge) => number(edge, 3));
  return el(
    "p",
    { class: "quiet legend" },
    el("span", { class: "t high", text: `above ${high}, A > 0` }), " ",
    el("span", { class: "t low", text: `below ${low}, A < 0` }),
    " the clip acts: PPO drops the gradient, GPPO keeps a bounded one; ",
    el("span", { class: "t near", text: "outside the band" }), " where it does not act.",
  );
}

const NAMES = { h: "high", l: "low", n: "near" };
const TOGETHER = 400; // tokens of a piece

function tokens(found, coloured) {
  if (!found.tokens) return written(found.parts);
  const pre = el("pre", { class: "text tokens", dir: "auto" });
  for (let start = 0; start < found.tokens.length; start += TOGETHER) {
    const piece = el("span", { class: found.tokens.length > TOGETHER ? "piece" : "" });
    for (let at = start; at < Math.min(found.tokens.length, start + TOGETHER); at += 1) {
      const kind = coloured ? NAMES[coloured.kinds[at]] : undefined;
      const ratio = coloured ? `ratio ${coloured.ratios[at].toFixed(3)}, ` : "";
      piece.append(el("span", { class: kind ? `t ${kind}` : null, title: `${ratio}log-probability ${found.logprobs[at].toFixed(3)}`, text: found.tokens[at] }));
    }
    pre.append(piece);
  }
  const acting = coloured ? [...coloured.kinds].filter((one) => one === "h" || one === "l").length : 0;
  return [coloured ? el("p", { class: "quiet", text: `The clip acts on ${acting} of ${count(found.tokens.length, "token")}.` }) : null, pre].filter(Boolean);
}
