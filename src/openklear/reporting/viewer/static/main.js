// Which page is shown (the address after #), keys, help, and what changes while it is looked at.

import { count, el, fill, number, percent } from "./dom.js";
import { ask, exported, stamps, watch } from "./source.js";
import { KINDS, mark } from "./marks.js";
import { close, isReading, readerKey } from "./reader.js";
import { EvaluationPage, scoreCard } from "./evaluation.js";
import { PhasePage } from "./phase.js";

const host = document.getElementById("page");
const where = document.getElementById("where");
const live = document.getElementById("live");
const help = document.getElementById("help");
const state = { items: [], page: null, turns: 0 };

const KEYS = [
  ["← ↑ → ↓", "move in the grid; Home, End: first and last sample"],
  ["Enter", "open the completion"],
  ["Escape", "close it"],
  ["n, p", "next and previous failing one (of what the filters leave)"],
  ["t", "fold the thinking in or out"],
  ["/", "filter by words"],
  ["[, ]", "the iteration before and after"],
  ["g", "back to the overview"],
  ["?", "this help"],
];

async function start() {
  const known = await stamps();
  await list();
  addEventListener("hashchange", show);
  addEventListener("keydown", keys);
  where.addEventListener("change", () => (location.hash = where.value));
  document.getElementById("ask-help").addEventListener("click", showHelp);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  await show();
  watch(known, changed, (fault) => {
    if (fault || live.classList.contains("fault")) live.textContent = fault;
    live.classList.toggle("fault", Boolean(fault));
  });
  if (exported !== null) live.textContent = "an exported page";
}

async function list() {
  const found = await ask("list");
  state.items = found.items;
  const options = found.items.filter((one) => one.kind !== "older").map((one) => el("option", { value: `#/${one.kind}/${one.id}`, text: one.name }));
  const now = where.value;
  fill(where, el("option", { value: "#/", text: "overview" }), options);
  where.value = now || "#/";
}

async function show() {
  const turn = ++state.turns;
  close();
  state.page?.close?.();
  state.page = null;
  const [, kind, id, , other] = location.hash.split("/");
  try {
    const page = await made(kind, id, other);
    if (turn !== state.turns) return page.close?.();
    state.page = page;
    where.value = location.hash.split("/").slice(0, 3).join("/") || "#/";
    requestAnimationFrame(() => setTimeout(() => (document.documentElement.dataset.ready = String(performance.now())))); // drawn
  } catch (error) {
    if (turn === state.turns) fill(host, el("p", { class: "fault", text: error.message }), el("p", {}, el("a", { href: "#/", text: "to the overview" })));
  }
}

async function made(kind, id, other) {
  if (kind === "evaluation") {
    const page = new EvaluationPage(host, state.items, (one, two) => (location.hash = two ? `#/evaluation/${one}/beside/${two}` : `#/evaluation/${one}`));
    await page.open(id, other);
    return page;
  }
  if (kind === "phase") {
    const page = new PhasePage(host);
    await page.open(id);
    return page;
  }
  if (!kind && state.items.length === 1 && state.items[0].kind !== "older" && !state.seen) {
    state.seen = true;
    history.replaceState(null, "", `#/${state.items[0].kind}/${state.items[0].id}`);
    return made(state.items[0].kind, state.items[0].id);
  }
  overview();
  return { changed: async () => overview() };
}

function overview() {
  const said = exported === null ? null : el("p", { class: "notice", text: exported });
  fill(host, el("div", { class: "heading" }, el("h1", { text: "What there is to look at" })), said, state.items.map(item));
}

function item(one) {
  const title = one.kind === "older" ? el("h2", { text: one.name }) : el("h2", {}, el("a", { href: `#/${one.kind}/${one.id}`, text: one.name }));
  const told = el("section", { class: "item" }, title, one.model ? el("p", { class: "sub", text: one.model }) : null);
  if (one.fault) told.append(el("p", { class: one.kind === "older" ? "quiet" : "fault", text: one.fault }));
  if (one.scores) told.append(el("div", { class: "cards" }, one.scores.map((row) => scoreCard(row, ""))));
  if (one.last) {
    const { reward, accuracy, length_mean: length } = one.last;
    const last = reward === undefined ? "" : `; the last: reward ${number(reward, 3)}, accuracy ${percent(accuracy)} %, ${number(length, 0)} tokens per rollout`;
    told.append(el("p", { text: `RL: ${count(one.iterations, "iteration")}, ${one.kept} with their rollouts${last}` }));
  }
  return told;
}

async function changed(ids) {
  await list();
  live.textContent = `updated ${new Date().toLocaleTimeString("en-GB")}`;
  try {
    await state.page?.changed?.(ids);
  } catch (error) {
    live.textContent = error.message;
    live.classList.add("fault");
  }
}

function repaint() {
  for (const canvas of document.querySelectorAll("canvas.mark")) canvas.repaint?.();
  state.page?.grid?.draw(true);
}

function keys(event) {
  const typing = event.target.closest?.("input, select, textarea");
  if (typing) {
    if (event.key === "Escape" || (event.key === "Enter" && typing.type === "search")) state.page?.grid?.host.focus();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const taken = readerKey(event) || (event.key === "?" && showHelp()) || (event.key === "g" && !isReading() && home()) || state.page?.key?.(event);
  if (taken) event.preventDefault();
}

function home() {
  location.hash = "#/";
  return true;
}

function showHelp() {
  const rows = KEYS.map(([key, what]) => el("div", {}, el("dt", {}, el("kbd", { text: key })), el("dd", { text: what })));
  const marks = Object.entries(KINDS).map(([kind, what]) => el("div", {}, el("dt", {}, mark(kind)), el("dd", { text: what })));
  fill(help, el("h2", { text: "Keys" }), el("dl", {}, rows), el("h2", { text: "Marks" }), el("dl", {}, marks), el("button", { type: "button", text: "Close", onclick: () => help.close() }));
  help.showModal();
  return true;
}

start().catch((error) => fill(host, el("p", { class: "fault", text: error.message })));
