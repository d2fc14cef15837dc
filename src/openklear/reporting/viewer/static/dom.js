// Elements. Whatever a model wrote goes through `el` as text: nothing here makes markup of a string.

const CHUNK = 12000; // characters of a long text that are laid out together
const LINE = 20; // pixels, of the estimate for what is not laid out yet

export function el(tag, given = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "text") node.textContent = value;
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return node;
}

export function svg(tag, given = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export function fill(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter(Boolean));
}

export function count(number, what) {
  return `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
}

export function percent(share, digits = 1) {
  return share === null || share === undefined ? "–" : (100 * share).toFixed(digits);
}

export function number(value, digits = 2) {
  if (value === null || value === undefined) return "–";
  const text = value.toLocaleString("en", { maximumFractionDigits: digits });
  return text === "-0" ? "0" : text;
}

export function signed(value, digits = 2) {
  if (value === null || value === undefined) return "–";
  return (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);
}

// Where a long text is cut into pieces: at line ends where there are any, never inside a character.
export function pieces(text) {
  const found = [];
  let start = 0;
  while (text.length - start > CHUNK) {
    let end = text.lastIndexOf("\n", start + CHUNK);
    if (end <= start + CHUNK / 2) {
      end = start + CHUNK;
      const code = text.charCodeAt(end);
      if (code >= 0xdc00 && code < 0xe000) end -= 1;
      found.push(text.slice(start, end));
      start = end;
    } else {
      found.push(text.slice(start, end));
      start = end + 1;
    }
  }
  found.push(text.slice(start));
  return found;
}

// A text of any length: pieces out of sight are not laid out (content-visibility), so a megabyte scrolls.
export function longText(text, given = {}) {
  const pre = el("pre", { dir: "auto", ...given, class: `text ${given.class || ""}` });
  const parts = pieces(text);
  if (parts.length === 1) {
    pre.textContent = text;
    return pre;
  }
  for (const part of parts) {
    const piece = el("div", { class: "piece", text: part });
    piece.style.containIntrinsicSize = `auto ${LINE * lines(part)}px`;
    pre.append(piece);
  }
  return pre;
}

function lines(text) {
  let found = 0;
  for (const line of text.split("\n")) found += Math.max(1, Math.ceil(line.length / 100));
  return found;
}

// A closed <details> makes its content when it is opened first.
export function folded(summary, make, given = {}) {
  const node = el("details", given, el("summary", { text: summary }));
  const filled = () => {
    if (node.open && node.children.length === 1) node.append(...[make()].flat(Infinity));
  };
  node.addEventListener("toggle", filled);
  filled();
  return node;
}

// Values on a scale from 0 to 1, with their interval.
export function interval(value, low, high) {
  const at = (share) => (4 + 252 * share).toFixed(1);
  const drawn = svg("svg", { viewBox: "0 0 260 12", class: "interval", "aria-hidden": "true" });
  drawn.append(svg("line", { x1: 4, x2: 256, y1: 6, y2: 6, class: "axis" }));
  if (low !== null) drawn.append(svg("line", { x1: at(low), x2: at(high), y1: 6, y2: 6, class: "span" }));
  drawn.append(svg("circle", { cx: at(value), cy: 6, r: 4 }));
  return drawn;
}
