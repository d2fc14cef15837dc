// Rows of cells on one canvas that is as high as the window, however many there are: problems by samples, or the groups
// of an iteration. The page scrolls; only what is in sight is drawn.

import { drawMark, palette } from "./marks.js";

const OVER = 300; // pixels drawn beyond the window, above and below
const NARROW = 620;
const FONT = "12.5px ui-sans-serif, system-ui, Helvetica, Arial, sans-serif";

export class Grid {
  // `opened(row, cell)` on Enter or a click, `moved(row, cell)` when the place changes; cell = { side, index }.
  constructor({ label, opened, moved, hovered, width = 14, height = 14 }) {
    this.rows = [];
    this.place = { row: 0, index: 0, side: 0 };
    this.opened = opened;
    this.moved = moved;
    this.hovered = hovered;
    this.pitch = { x: width, y: height };
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("aria-hidden", "true");
    this.host = document.createElement("div");
    this.host.className = "grid";
    this.host.tabIndex = 0;
    this.host.setAttribute("role", "application");
    this.host.setAttribute("aria-label", label);
    this.host.setAttribute("aria-describedby", "at");
    this.host.append(this.canvas);
    this.host.addEventListener("keydown", (event) => this.key(event));
    this.host.addEventListener("focus", () => this.draw(true));
    this.host.addEventListener("blur", () => this.draw(true));
    this.canvas.addEventListener("click", (event) => this.click(event));
    this.canvas.addEventListener("mousemove", (event) => this.hovered(this.under(event)));
    this.canvas.addEventListener("mouseleave", () => this.hovered(null));
    this.follow = () => requestAnimationFrame(() => this.draw(false));
    addEventListener("scroll", this.follow, { passive: true });
    this.sizes = new ResizeObserver(() => this.layout());
    this.sizes.observe(this.host);
  }

  close() {
    removeEventListener("scroll", this.follow);
    this.sizes.disconnect();
  }

  // rows: [{ label, note, sides: [[{ kind, dim, text }, ...], ...] }]
  show(rows) {
    this.rows = rows;
    this.place.row = Math.min(this.place.row, Math.max(0, rows.length - 1));
    this.layout();
  }

  layout() {
    const width = this.host.clientWidth;
    if (!width) return;
    const sides = Math.max(1, ...this.rows.map((row) => row.sides.length));
    const cells = Math.max(1, ...this.rows.map((row) => Math.max(...row.sides.map((side) => side.length))));
    const narrow = width < NARROW;
    const left = narrow ? 0 : Math.min(Math.round(width * 0.24), this.labels() + 14);
    const letter = sides > 1 ? 18 : 0;
    const note = narrow ? 0 : 92;
    const most = Math.max(1, Math.min(cells, Math.floor((width - left - letter - note - 4) / this.pitch.x)));
    const lines = Math.ceil(cells / most), columns = Math.ceil(cells / lines); // lines of like lengths
    const head = narrow ? 20 : 0;
    const high = head + sides * lines * this.pitch.y + (sides > 1 ? 3 : 0) + (narrow || lines > 1 || sides > 1 ? 7 : 1);
    const right = narrow ? width - 2 : Math.min(width - 2, left + letter + columns * this.pitch.x + note);
    this.form = { width, sides, narrow, left, letter, columns, lines, head, high, right };
    this.host.style.height = `${high * this.rows.length + 4}px`;
    this.draw(true);
  }

  // Pixels of the widest label.
  labels() {
    const context = this.canvas.getContext("2d");
    context.font = FONT;
    return this.rows.reduce((most, row) => Math.max(most, context.measureText(row.label).width), 40);
  }

  // Draws what is in sight; without `anew` only where the window has left what is drawn.
  draw(anew) {
    if (!this.form || !this.host.isConnected) return;
    const box = this.host.getBoundingClientRect();
    const total = this.form.high * this.rows.length + 4;
    const seen = [Math.max(0, -box.top), Math.min(total, innerHeight - box.top)];
    if (!anew && this.drawn && this.drawn[0] <= seen[0] && this.drawn[1] >= seen[1]) return;
    const top = Math.max(0, Math.floor(seen[0]) - OVER), bottom = Math.min(total, Math.ceil(seen[1]) + OVER);
    const scale = devicePixelRatio || 1, height = Math.max(1, bottom - top);
    this.drawn = [top, bottom];
    this.canvas.style.top = `${top}px`;
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.round(this.form.width * scale);
    this.canvas.height = Math.round(height * scale);
    const context = this.canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, -top * scale);
    context.textBaseline = "middle";
    const colours = palette();
    const first = Math.floor(top / this.form.high), last = Math.min(this.rows.length, Math.ceil(bottom / this.form.high));
    for (let row = first; row < last; row += 1) this.drawRow(context, colours, row);
    this.drawPlace(context, colours);
  }

  drawRow(context, colours, number) {
    const { narrow, left, head, high, letter, width, right } = this.form, row = this.rows[number], top = number * high;
    context.font = FONT;
    const middle = top + 1 + (narrow ? head / 2 : this.pitch.y / 2);
    context.fillStyle = colours.muted;
    context.textAlign = "right";
    context.fillText(row.note, right, middle);
    context.textAlign = "left";
    context.fillStyle = colours.ink;
    const room = narrow ? width - context.measureText(row.note).width - 12 : left - 10;
    context.fillText(fitted(context, row, room), 0, middle);
    row.sides.forEach((side, which) => {
      if (letter) {
        context.fillStyle = colours.muted;
        context.fillText("AB"[which], left, this.corner(number, which, 0).y + this.pitch.y / 2);
      }
      side.forEach((cell, index) => {
        const { x, y } = this.corner(number, which, index);
        context.globalAlpha = cell.dim ? 0.16 : 1;
        drawMark(context, colours, cell.kind, x, y, cell.text === undefined ? this.pitch.x - 2 : 14, this.pitch.y - 2);
        if (cell.text !== undefined) {
          context.fillStyle = colours.ink;
          context.fillText(cell.text, x + 18, y + this.pitch.y / 2 - 1);
        }
        context.globalAlpha = 1;
      });
    });
  }

  drawPlace(context, colours) {
    if (!this.rows.length) return;
    const { x, y } = this.corner(this.place.row, this.place.side, this.place.index);
    context.strokeStyle = colours.focus;
    context.lineWidth = document.activeElement === this.host ? 2.5 : 1.5;
    context.beginPath();
    context.roundRect(x - 1.5, y - 1.5, this.pitch.x + 1, this.pitch.y + 1, 3.5);
    context.stroke();
  }

  corner(row, side, index) {
    const { left, letter, columns, lines, head, high } = this.form;
    const y = row * high + head + side * (lines * this.pitch.y + 3) + Math.floor(index / columns) * this.pitch.y;
    return { x: 2 + left + letter + (index % columns) * this.pitch.x, y: y + 2 };
  }

  under(event) {
    const box = this.host.getBoundingClientRect(), { high, columns, lines, left, letter, head } = this.form;
    const x = event.clientX - box.left - 2 - left - letter, y = event.clientY - box.top;
    const row = Math.floor(y / high), inside = y - row * high - head;
    if (!this.rows[row] || x < 0 || inside < 0) return null;
    const side = Math.floor(inside / (lines * this.pitch.y + 3)), column = Math.floor(x / this.pitch.x);
    const index = Math.floor((inside - side * (lines * this.pitch.y + 3)) / this.pitch.y) * columns + column;
    const cells = this.rows[row].sides[side];
    return column < columns && cells && index < cells.length ? { row, side, index } : null;
  }

  click(event) {
    const place = this.under(event);
    if (!place) return;
    this.go(place);
    this.opened(place);
  }

  go(place) {
    this.place = { ...this.place, ...place };
    this.draw(true);
    const { high } = this.form, box = this.host.getBoundingClientRect(), y = box.top + this.place.row * high;
    if (y < 120 || y + high > innerHeight - 20) scrollBy(0, y - innerHeight / 2);
    this.moved(this.place);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.rows.length) return;
    const { row, side, index } = this.place, cells = this.rows[row].sides[side];
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (event.key === "Enter") this.opened(this.place);
    else if (event.key === "Home") this.go({ index: 0 });
    else if (event.key === "End") this.go({ index: cells.length - 1 });
    else if (step) this.step(step, row, side, index);
    else return;
    event.preventDefault();
  }

  // Takes a key that was pressed while nothing had the focus.
  catches(event) {
    if (document.activeElement !== document.body || !/^(Arrow|Enter|Home|End)/.test(event.key)) return false;
    this.host.focus({ preventScroll: true });
    this.key(event);
    return true;
  }

  step([down, right], row, side, index) {
    let at = { row, side: side + down, index: index + right };
    if (at.side >= this.rows[row].sides.length) at = { ...at, row: row + 1, side: 0 };
    if (at.side < 0) at = { ...at, row: row - 1, side: Math.max(0, (this.rows[row - 1]?.sides.length ?? 1) - 1) };
    const cells = this.rows[at.row]?.sides[at.side];
    if (cells && cells.length) this.go({ ...at, index: Math.max(0, Math.min(cells.length - 1, at.index)) });
  }
}

function fitted(context, row, room) {
  if (row.fitted && row.fitted.room === room) return row.fitted.text;
  let text = row.label;
  if (context.measureText(text).width > room) {
    let low = 0, high = text.length;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (context.measureText(`…${text.slice(text.length - middle)}`).width <= room) low = middle;
      else high = middle - 1;
    }
    text = `…${text.slice(text.length - low)}`;
  }
  row.fitted = { room, text };
  return text;
}
