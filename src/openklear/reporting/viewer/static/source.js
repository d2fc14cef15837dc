// Where answers come from: the local server, or the element of an exported page that carries them.

const POLL = 1500; // milliseconds between two looks at what changed

const carried = document.getElementById("embedded");
const held = carried === null ? null : JSON.parse(carried.textContent);

export const exported = held === null ? null : held.exported;

export async function ask(path, signal) {
  if (held !== null) {
    const key = path.split("?")[0];
    if (Object.hasOwn(held, key)) return held[key];
    throw new Error("This is not in the file: " + held.exported + ".");
  }
  let answer;
  try {
    answer = await fetch(`data/${path}`, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: it has ended. Start openklear view again.");
  }
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.fault || `the server said ${answer.status}`);
  return value;
}

// Stamps of all that there is, for `watch`: taken before anything is read, so that no change is missed.
export async function stamps() {
  return held === null ? ask("changes") : null;
}

// Calls `changed(ids)` with what is new, gone or other than at the last look; `said(fault)` where there is no answer.
export function watch(known, changed, said) {
  if (held !== null) return;
  const look = async () => {
    if (!document.hidden) {
      try {
        const found = await ask("changes");
        said("");
        const names = new Set([...Object.keys(known), ...Object.keys(found)]);
        const other = [...names].filter((name) => known[name] !== found[name]);
        known = found;
        if (other.length) await changed(new Set(other));
      } catch (error) {
        said(error.message);
      }
    }
    setTimeout(look, POLL);
  };
  setTimeout(look, POLL);
}
