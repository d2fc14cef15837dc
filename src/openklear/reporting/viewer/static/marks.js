// What became of a completion: its word, its colour and its sign, so that no colour alone says anything.

export const TRUNCATED = 1, UNANSWERED = 2, STANDS = 4, HAS_TEXT = 8, REFUSED = 16;
export const OUTCOMES = ["correct", "incorrect", "unscorable"];

export const KINDS = {
  correct: "correct",
  wrong: "wrong",
  stands: "wrong, though the right answer stands in the text",
  truncated: "stopped by length",
  unanswered: "no answer found",
  unscorable: "unscorable: the verifier failed, not the answer",
  missing: "not sampled yet",
  refused: "could not be asked",
};

export function kindOf(outcome, flags) {
  if (flags & REFUSED) return "refused";
  if (outcome === "correct") return "correct";
  if (outcome === "unscorable") return "unscorable";
  if (flags & STANDS) return "stands";
  if (flags & TRUNCATED) return "truncated";
  if (flags & UNANSWERED) return "unanswered";
  return "wrong";
}

// Colours are those of the style sheet, which knows light and dark.
export function palette() {
  const style = getComputedStyle(document.documentElement);
  const found = {};
  for (const name of [...Object.keys(KINDS), "ink", "muted", "line", "focus", "glyph", "paper"]) {
    found[name] = style.getPropertyValue(`--${name}`).trim();
  }
  return found;
}

export function drawMark(context, colours, kind, x, y, width, height) {
  const hollow = kind === "missing" || kind === "refused";
  context.beginPath();
  context.roundRect(x + 0.5, y + 0.5, width - 1, height - 1, 2.5);
  if (hollow) {
    context.strokeStyle = colours.line;
    context.lineWidth = 1;
    context.stroke();
  } else {
    context.fillStyle = colours[kind];
    context.fill();
  }
  sign(context, kind, x + width / 2, y + height / 2, Math.min(width, height) * 0.23, hollow ? colours.muted : colours.glyph);
}

function sign(context, kind, x, y, r, colour) {
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 1.5;
  context.beginPath();
  if (kind === "wrong" || kind === "refused") {
    context.moveTo(x - r, y - r);
    context.lineTo(x + r, y + r);
    if (kind === "wrong") {
      context.moveTo(x + r, y - r);
      context.lineTo(x - r, y + r);
    }
  } else if (kind === "unanswered") {
    context.arc(x, y, r, 0, 7);
  } else if (kind === "truncated") {
    context.moveTo(x - r, y);
    context.lineTo(x + r, y);
    context.moveTo(x + r, y - r);
    context.lineTo(x + r, y + r);
  } else if (kind === "stands") {
    context.moveTo(x, y - 1.3 * r);
    context.lineTo(x, y + 0.4 * r);
    context.moveTo(x, y + 1.1 * r);
    context.lineTo(x, y + 1.5 * r);
  } else if (kind === "unscorable") {
    context.arc(x, y - 0.5 * r, 0.8 * r, 3.5, 7.6);
    context.lineTo(x, y + 0.7 * r);
    context.moveTo(x, y + 1.2 * r);
    context.lineTo(x, y + 1.6 * r);
  }
  context.stroke();
}

// The same mark as an element of the page.
export function mark(kind) {
  const size = 14, scale = 2;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size * scale;
  canvas.className = "mark";
  canvas.setAttribute("aria-hidden", "true");
  const paint = () => {
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, size, size);
    drawMark(context, palette(), kind, 0, 0, size, size);
  };
  paint();
  canvas.repaint = paint;
  return canvas;
}
