// The page of one evaluation: scores, filters, problems by samples; another evaluation beside it.

import { count, el, fill, folded, interval, number, percent, signed } from "./dom.js";
import { ask } from "./source.js";
import { Grid } from "./grid.js";
import { KINDS, OUTCOMES, STANDS, TRUNCATED, UNANSWERED, kindOf, mark } from "./marks.js";
import { completionColumn, isReading, read } from "./reader.js";

const FILTERS = [
  ["wrong", "not correct", (one) => one.outcome !== "correct", "wrong"],
  ["truncated", "truncated", (one) => one.flags & TRUNCATED, "truncated"],
  ["unanswered", "no answer found", (one) => one.flags & UNANSWERED, "unanswered"],
  ["stands", "stands, not extracted", (one) => one.flags & STANDS, "stands"],
  ["unscorable", "unscorable", (one) => one.outcome === "unscorable", "unscorable"],
];

// What an answer says, by problem and sample; later answers add to it.
export class Evaluation {
  constructor(answer) {
    this.generation = null;
    this.absorb(answer);
  }

  absorb(answer) {
    if (answer.from === 0 || answer.generation !== this.generation) this.samples = [];
    Object.assign(this, { id: answer.id, name: answer.name, model: answer.model, generation: answer.generation, count: answer.count });
    Object.assign(this, { settings: answer.settings, scores: answer.scores, problems: answer.problems, faults: answer.faults, written: answer.written, wanted: answer.wanted });
    const { problem, sample, outcome, flags, tokens, reason, answer: answers, texts } = answer.samples;
    problem.forEach((place, at) => {
      const told = { outcome: OUTCOMES[outcome[at]], flags: flags[at], tokens: tokens[at], reason: texts[reason[at]], answer: answers[at] === null ? null : texts[answers[at]] };
      told.kind = kindOf(told.outcome, told.flags);
      (this.samples[place] ||= [])[sample[at]] = told;
    });
    this.places = new Map(this.problems.map((one, place) => [`${one.benchmark}\u0000${one.id}`, place]));
    const most = this.samples.reduce((found, some) => Math.max(found, some ? some.length : 0), 1);
    this.wide = (place) => Math.max(this.wanted[this.problems[place]?.benchmark] ?? most, this.row(place).length);
  }

  since() {
    return `evaluation/${this.id}?since=${this.generation}:${this.count}`;
  }

  row(place) {
    return (place === undefined ? undefined : this.samples[place]) || [];
  }

  share(place) {
    const scorable = Object.values(this.row(place)).filter((one) => one.outcome !== "unscorable");
    return scorable.length ? scorable.filter((one) => one.outcome === "correct").length / scorable.length : null;
  }
}

export class EvaluationPage {
  constructor(host, items, go) {
    Object.assign(this, { host, items, go, chosen: new Set(), words: "", other: null, rows: [] });
  }

  async open(id, otherId) {
    this.one = new Evaluation(await ask(`evaluation/${id}`));
    this.other = otherId ? new Evaluation(await ask(`evaluation/${otherId}`)) : null;
    this.build();
  }

  async changed(ids) {
    for (const one of [this.one, this.other]) if (one && ids.has(one.id)) one.absorb(await ask(one.since()));
    this.refresh();
  }

  close() {
    this.grid?.close();
  }

  build() {
    const others = this.items.filter((one) => one.kind === "evaluation" && one.id !== this.one.id);
    this.top = el("div", {});
    this.chips = el("div", { class: "chips", role: "group", "aria-label": "Filters" });
    this.at = el("p", { id: "at", role: "status" });
    this.search = el("input", { type: "search", placeholder: "problem, answer or reason ( / )", "aria-label": "Filter by words", oninput: () => this.filter() });
    const beside = el("select", { "aria-label": "Another evaluation beside it", onchange: () => this.go(this.one.id, beside.value) });
    beside.append(el("option", { value: "", text: "alone" }), ...others.map((one) => el("option", { value: one.id, text: `beside ${one.name}`, selected: one.id === this.other?.id })));
    beside.value = this.other ? this.other.id : "";
    this.grid = new Grid({
      label: "Problems by samples. Arrows move, Enter opens, n and p go to the next and the previous failing one",
      opened: (place) => this.read(place),
      moved: (place) => this.tell(place),
      hovered: (place) => this.tell(place || this.grid.place),
    });
    fill(
      this.host,
      this.top,
      el("div", { class: "controls" }, this.chips, el("div", { class: "find" }, this.search, others.length ? beside : null), this.at),
      el("section", { class: "wide" }, this.grid.host),
    );
    this.refresh();
  }

  refresh() {
    const open = new Set([...this.top.querySelectorAll("details[open] > summary")].map((one) => one.textContent));
    fill(this.top, this.heading(), this.one.faults.map((text) => el("p", { class: "fault", text })), this.scores(), this.other ? this.versus() : null, this.settings());
    for (const one of this.top.querySelectorAll("summary")) if (open.has(one.textContent)) one.parentElement.open = true;
    this.buildChips();
    this.filter();
  }

  heading() {
    const refused = this.one.problems.filter((one) => one.refused).length;
    const told = [count(this.one.problems.length, "problem"), count(this.one.samples.flat().filter(Boolean).length, "completion")];
    if (refused) told.push(`${refused} could not be asked`);
    return el("div", { class: "heading" }, el("h1", { text: this.one.name }), el("p", { class: "sub", text: [this.one.model, ...told].filter(Boolean).join(", ") }));
  }

  scores() {
    const sides = this.other ? [["A", this.one], ["B", this.other]] : [["", this.one]];
    return el("div", { class: "cards" }, sides.map(([letter, side]) => side.scores.map((row) => scoreCard(row, letter, (name) => this.only(name)))));
  }

  // Leaves the problems of one benchmark; of all, where these are left already.
  only(benchmark) {
    this.search.value = this.search.value === `${benchmark}/` ? "" : `${benchmark}/`;
    this.filter();
    this.host.querySelector(".wide").scrollIntoView({ block: "nearest" });
  }

  versus() {
    let up = 0, down = 0, alike = 0;
    for (const [key, place] of this.one.places) {
      const [a, b] = [this.one.share(place), this.other.share(this.other.places.get(key))];
      if (a === null || b === null) continue;
      if (b > a) up += 1;
      else if (b < a) down += 1;
      else alike += 1;
    }
    const mine = new Map(this.one.settings), its = new Map(this.other.settings);
    const names = [...new Set([...mine.keys(), ...its.keys()])].filter((name) => mine.get(name) !== its.get(name));
    return el(
      "section",
      {},
      el("p", { text: `A is ${this.one.name}, B is ${this.other.name}. From A to B ${count(up, "problem")} rose, ${down} fell, ${alike} stayed; openklear compare gives the interval of the difference.` }),
      folded(`settings that differ: ${names.length}`, () => table(["setting", "A", "B"], names.map((name) => [name, mine.get(name) ?? "not recorded", its.get(name) ?? "not recorded"]))),
    );
  }

  settings() {
    return el(
      "section",
      { class: "quiet-section" },
      folded("Settings of this evaluation", () => table(["setting", "value"], this.one.settings)),
      this.one.written.length ? folded("Scores as its end wrote them", () => table(["benchmark", "domain", "metric", "value", "low", "high"], this.one.written)) : null,
    );
  }

  buildChips() {
    const every = this.one.samples.flat().filter(Boolean);
    const made = FILTERS.map(([name, label, holds, kind]) => this.chip(name, label, every.filter(holds).length, kind));
    if (this.other) made.push(this.chip("moved", "moved", this.movedCount(), null));
    const focused = document.activeElement?.dataset?.name;
    fill(this.chips, made, el("span", { class: "legend" }, mark("correct"), " correct ", mark("missing"), " not sampled"));
    if (focused) this.chips.querySelector(`[data-name="${focused}"]`)?.focus();
  }

  chip(name, label, many, kind) {
    const button = el("button", { type: "button", "data-name": name, "aria-pressed": String(this.chosen.has(name)), title: kind ? KINDS[kind] : "another verdict in B than in A" }, kind ? mark(kind) : null, ` ${label} `, el("b", { text: many.toLocaleString("en") }));
    button.addEventListener("click", () => {
      if (!this.chosen.delete(name)) this.chosen.add(name);
      button.setAttribute("aria-pressed", String(this.chosen.has(name)));
      this.filter();
    });
    return button;
  }

  partner(place) {
    const { benchmark, id } = this.one.problems[place];
    return this.other?.places.get(`${benchmark}\u0000${id}`);
  }

  isMoved(place, index) {
    const a = this.one.row(place)[index], b = this.other?.row(this.partner(place))[index];
    return Boolean(a && b && (a.outcome === "correct") !== (b.outcome === "correct"));
  }

  movedCount() {
    let found = 0;
    this.one.samples.forEach((some, place) => some?.forEach((_, index) => (found += this.isMoved(place, index))));
    return found;
  }

  holds(place, index, one) {
    if (!this.chosen.size) return true;
    if (this.chosen.has("moved") && this.isMoved(place, index)) return true;
    return FILTERS.some(([name, , holds]) => this.chosen.has(name) && holds(one));
  }

  // The rows and cells that the filters leave; cells that they do not hold of are pale.
  filter() {
    const words = this.search.value.trim().toLowerCase();
    const several = new Set(this.one.problems.map((one) => one.benchmark)).size > 1;
    const rows = [];
    this.one.problems.forEach((problem, place) => {
      const head = `${problem.benchmark}/${problem.id} ${problem.title || ""} ${problem.reference || ""}`.toLowerCase();
      const all = !words || head.includes(words);
      const side = (evaluation, at) => this.cells(evaluation, at, place, all ? "" : words);
      const sides = [side(this.one, place), ...(this.other ? [side(this.other, this.partner(place))] : [])];
      const some = sides.flat().some((cell) => !cell.dim && cell.kind !== "missing");
      if ((this.chosen.size || !all) && !some) return;
      rows.push({ place, label: several ? `${problem.benchmark}/${problem.id}` : problem.id, note: this.note(place), sides });
    });
    this.rows = rows;
    this.grid.show(rows);
    this.tell(this.grid.place);
  }

  cells(evaluation, at, place, words) {
    const row = evaluation.row(at), refused = this.one.problems[place].refused;
    return Array.from({ length: evaluation.wide(at) }, (_, index) => {
      const one = row[index];
      if (!one) return { kind: refused ? "refused" : "missing", dim: this.chosen.size > 0 };
      const found = !words || `${one.answer || ""} ${one.reason}`.toLowerCase().includes(words);
      return { kind: one.kind, dim: !found || !this.holds(place, index, one) };
    });
  }

  note(place) {
    if (this.one.problems[place].refused) return "not asked";
    const a = this.one.share(place);
    if (!this.other) {
      const some = Object.values(this.one.row(place));
      return some.length ? `${some.filter((one) => one.outcome === "correct").length} of ${some.length}` : "";
    }
    const b = this.other.share(this.partner(place));
    return a === null || b === null ? "" : `${signed(100 * (b - a), 0)} points`;
  }

  tell({ row, side, index }) {
    const found = this.rows[row];
    if (!found) {
      this.at.textContent = "Nothing is left by the filters.";
      return;
    }
    const problem = this.one.problems[found.place];
    const one = (side ? this.other.row(this.partner(found.place)) : this.one.row(found.place))[index];
    const what = one ? [KINDS[one.kind], one.answer === null ? "" : `extracted ${one.answer}`, one.reason, one.tokens === null ? "" : count(one.tokens, "token")] : [problem.refused || "not sampled yet"];
    const letter = this.other ? `${"AB"[side]}, ` : "";
    const place = `${letter}${problem.benchmark} ${problem.id}, sample ${index}: `;
    this.at.replaceChildren(el("b", { text: place }), [...new Set(what)].filter(Boolean).join("; "), problem.reference ? `; reference ${problem.reference}` : "");
  }

  read(place) {
    const { row, index } = place, found = this.rows[row];
    if (!found) return;
    this.grid.place = { ...place };
    this.grid.go(place);
    const problem = this.one.problems[found.place];
    const column = (evaluation, at, letter) => {
      const path = `${evaluation.id}/${at}/${index}`;
      return completionColumn(letter && `${letter}: ${evaluation.name}`, `completion/${path}`, `explain/${path}`);
    };
    const columns = this.one.row(found.place)[index] || !this.other ? [column(this.one, found.place, this.other && "A")] : [];
    const partner = this.partner(found.place);
    if (this.other && partner !== undefined && this.other.row(partner)[index]) columns.push(column(this.other, partner, "B"));
    if (!columns.length || (columns.length === 1 && !this.other && !this.one.row(found.place)[index])) return;
    read({
      title: `${problem.benchmark} ${problem.id}, sample ${index} of ${this.one.row(found.place).length}`,
      columns,
      step: (by) => this.step(by),
      closed: () => this.grid.host.focus({ preventScroll: true }),
    });
  }

  // The next place (or the one before) whose verdict is not correct, among what the filters leave.
  step(by) {
    let { row, side, index } = this.grid.place;
    for (;;) {
      index += by;
      while (this.rows[row] && (index < 0 || index >= this.rows[row].sides[side].length)) {
        row += by;
        if (this.rows[row]) index = by > 0 ? 0 : this.rows[row].sides[side].length - 1;
      }
      const cell = this.rows[row]?.sides[side]?.[index];
      if (!cell) return;
      if (!cell.dim && !["missing", "refused"].includes(cell.kind) && (cell.kind !== "correct" || this.chosen.size)) break;
    }
    this.grid.go({ row, side, index });
    if (isReading()) this.read(this.grid.place);
  }

  key(event) {
    if (event.key === "n" || event.key === "p") this.step(event.key === "n" ? 1 : -1);
    else if (event.key === "/") this.search.focus();
    else return this.grid.catches(event);
    return true;
  }
}

// `chosen(benchmark)` where its problems can be shown alone.
export function scoreCard(row, letter, chosen) {
  const [value, low, high] = row.avg || [null, null, null];
  const beside = [["truncated", "stopped_by_length"], ["no answer", "no_answer"], ["unscorable", "unscorable"], ["stands", "stands"]];
  const missing = row.of - row.problems;
  return el(
    "div",
    { class: "card" },
    el("div", { class: "name" }, letter ? `${letter}: ` : "", chosen ? el("button", { type: "button", class: "plain", title: "Only its problems, and all again", text: row.name, onclick: () => chosen(row.benchmark) }) : row.name),
    value === null
      ? el("div", { class: "label", text: "nothing scored yet" })
      : [
          el("div", { class: "score" }, el("span", { class: "big", text: percent(value) }), el("span", { class: "label", text: ` avg@${row.k}  [${percent(low)} to ${percent(high)}]` })),
          interval(value, low, high),
          row.error ? el("div", { class: "label", text: `±${percent(row.error)} by sampling alone (standard error)` }) : null,
          row.pass ? el("div", { class: "label", text: `pass@${row.k} ${percent(row.pass[0])} [${percent(row.pass[1])} to ${percent(row.pass[2])}]${row.pass[3] === row.problems ? "" : `, of ${count(row.pass[3], "problem")} with ${row.k} scorable`}` }) : null,
        ],
    el("div", { class: "label", text: `${count(row.problems, "problem")}${missing ? ` of ${row.of} so far` : ""}, ${row.wanted > row.samples ? `${row.samples.toLocaleString("en")} of ` : ""}${count(Math.max(row.samples, row.wanted || 0), "completion")}${row.refused ? `; ${row.refused} could not be asked, counted wrong` : ""}` }),
    el(
      "dl",
      { class: "beside" },
      beside.map(([name, key]) => el("div", {}, el("dt", { text: name }), el("dd", { text: `${percent(row[key])} %`, title: row[key] === null ? null : `${Math.round(row[key] * row.samples)} of ${row.samples}` }))),
      el("div", {}, el("dt", { text: "mean length" }), el("dd", { text: row.mean_tokens === null ? "–" : `${number(row.mean_tokens, 0)} tokens` })),
    ),
    row.unscorable ? el("div", { class: "label", text: `with the unscorable all wrong or all right: ${percent(row.bounds[0])} to ${percent(row.bounds[1])}` }) : null,
  );
}

export function table(heads, rows) {
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { text: head })))), el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", { text: cell, dir: "auto" })))))));
}
