// The page of a phase of RL: its curves, an iteration's groups, one rollout.

import { count, el, fill, number, signed, svg } from "./dom.js";
import { ask } from "./source.js";
import { Grid } from "./grid.js";
import { kindOf } from "./marks.js";
import { isReading, read, rolloutColumn } from "./reader.js";

const CURVES = [
  ["reward", "reward"],
  ["accuracy", "accuracy"],
  ["length_mean", "tokens per rollout"],
  ["no_eos", "stopped by length"],
  ["zero_advantage", "groups without advantage"],
  ["bounded_tokens", "tokens that the clip bounds"],
  ["entropy", "entropy"],
  ["kl_k1", "KL to the policy before"],
];

export class PhasePage {
  constructor(host) {
    Object.assign(this, { host, rows: [], number: null });
  }

  async open(id) {
    this.id = id;
    this.phase = await ask(`phase/${id}`);
    this.build();
    await this.show(this.phase.kept.at(-1) ?? null);
  }

  async changed(ids) {
    if (!ids.has(this.id)) return;
    this.phase = await ask(`phase/${this.id}`);
    this.refresh();
  }

  close() {
    this.grid?.close();
  }

  build() {
    this.top = el("div", {});
    this.choice = el("select", { "aria-label": "Iteration", onchange: () => this.show(Number(this.choice.value)) });
    this.said = el("p", { class: "fault", hidden: true });
    this.at = el("p", { id: "at", role: "status" });
    this.grid = new Grid({
      label: "Groups by rollouts. Arrows move, Enter opens",
      opened: (place) => this.read(place),
      moved: (place) => this.tell(place),
      hovered: (place) => this.tell(place || this.grid.place),
      width: 66,
      height: 18,
    });
    const turn = (by, text, title) => el("button", { type: "button", text, title, "aria-label": title, onclick: () => this.turn(by) });
    this.controls = el("div", { class: "find turns" }, turn(-1, "← [", "The iteration before ( [ )"), this.choice, turn(1, "] →", "The next iteration ( ] )"));
    fill(this.host, this.top, el("div", { class: "controls" }, this.controls, this.said, this.at), el("section", { class: "wide" }, this.grid.host));
    this.refresh();
  }

  refresh() {
    const { name, objective, iterations, kept } = this.phase;
    const told = [objective, count(iterations.length, "iteration"), `${kept.length} with their rollouts`].filter(Boolean).join(", ");
    fill(this.top, el("div", { class: "heading" }, el("h1", { text: name }), el("p", { class: "sub", text: told })), el("section", { class: "curves" }, CURVES.map(([key, label]) => this.curve(key, label))));
    fill(this.choice, kept.map((one) => el("option", { value: one, text: `iteration ${one}${this.phase.weights.includes(one) ? ", weights kept" : ""}`, selected: one === this.number })));
  }

  curve(key, label) {
    const values = this.phase.curves[key] || [], numbers = this.phase.iterations;
    const known = values.map((value, at) => [numbers[at], value]).filter(([, value]) => typeof value === "number");
    if (known.length < 2 || known.every(([, value]) => value === 0)) return null;
    const xs = known.map(([x]) => x), ys = known.map(([, y]) => y);
    const [left, right] = [Math.min(...xs), Math.max(...xs)], [low, high] = [Math.min(...ys), Math.max(...ys)];
    const at = ([x, y]) => `${(2 + (116 * (x - left)) / (right - left || 1)).toFixed(1)},${(30 - (26 * (y - low)) / (high - low || 1)).toFixed(1)}`;
    const drawn = svg("svg", { viewBox: "0 0 120 34", preserveAspectRatio: "none", class: "spark", role: "img", "aria-label": `${label}: ${number(ys[0], 3)} to ${number(ys.at(-1), 3)}` });
    drawn.append(svg("polyline", { points: known.map(at).join(" ") }));
    return el("figure", {}, el("figcaption", {}, `${label} `, el("b", { text: number(ys.at(-1), 3) })), drawn, el("div", { class: "label", text: `${number(low, 3)} to ${number(high, 3)}` }));
  }

  turn(by) {
    const { kept } = this.phase, at = kept.indexOf(this.number) + by;
    if (kept[at] !== undefined) this.show(kept[at]);
  }

  async show(wanted) {
    if (wanted === null) {
      this.at.textContent = "No iteration has its rollouts on disk (yet).";
      this.grid.show([]);
      return;
    }
    this.number = wanted;
    this.choice.value = String(wanted);
    try {
      const found = await ask(`iteration/${this.id}/${wanted}`);
      if (this.number !== wanted) return;
      this.said.hidden = true;
      this.rows = found.groups.map((group) => this.row(group));
      this.grid.show(this.rows);
      this.tell(this.grid.place);
    } catch (error) {
      this.said.hidden = false;
      this.said.textContent = error.message;
    }
  }

  row(group) {
    const mean = group.rollouts.reduce((sum, one) => sum + one.reward, 0) / group.rollouts.length;
    const cells = group.rollouts.map((one) => ({
      kind: kindOf(one.outcome, one.truncated ? 1 : 0),
      text: one.advantage ? signed(one.advantage) : one.advantage === 0 ? "0" : "–",
    }));
    return { group, label: group.title || group.problem, note: `reward ${number(mean, 2)}`, sides: [cells] };
  }

  tell({ row, index }) {
    const found = this.rows[row], one = found?.group.rollouts[index];
    if (!one) return;
    const told = [one.outcome, `reward ${number(one.reward, 3)}`, one.advantage === null ? "in no update" : `advantage ${signed(one.advantage, 3)}`];
    told.push(one.extracted === null ? "" : `extracted ${one.extracted}`, one.reason, count(one.length, "token"));
    this.at.replaceChildren(el("b", { text: `${found.group.problem}, rollout ${one.sample}: ` }), told.filter(Boolean).join("; "));
  }

  read(place) {
    const found = this.rows[place.row], one = found?.group.rollouts[place.index];
    if (!one) return;
    this.grid.go(place);
    const path = `${this.id}/${this.number}/${found.group.group}/${one.sample}`;
    read({
      title: `${found.group.problem}, rollout ${one.sample} of iteration ${this.number}`,
      columns: [rolloutColumn(`rollout/${path}`, `clip/${path}`, this.phase.band)],
      step: (by) => this.step(by),
      closed: () => this.grid.host.focus({ preventScroll: true }),
    });
  }

  step(by) {
    const places = this.rows.flatMap((row, at) => row.group.rollouts.map((one, index) => ({ row: at, index, side: 0, one })));
    const { row, index } = this.grid.place;
    const now = places.findIndex((place) => place.row === row && place.index === index);
    const ahead = by > 0 ? places.slice(now + 1) : places.slice(0, Math.max(0, now)).reverse();
    const next = ahead.find((place) => place.one.outcome !== "correct");
    if (!next) return;
    this.grid.go({ row: next.row, index: next.index, side: 0 });
    if (isReading()) this.read(this.grid.place);
  }

  key(event) {
    if (event.key === "n" || event.key === "p") this.step(event.key === "n" ? 1 : -1);
    else if (event.key === "[" || event.key === "]") this.turn(event.key === "]" ? 1 : -1);
    else return this.grid.catches(event);
    return true;
  }
}
