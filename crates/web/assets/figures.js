// Figures that follow: server-sent events change the texts of a page in place.
//
//   <div data-figures="/console/nodes/stream" data-figures-state="state">
//     <p data-figure="pending">3</p>
//   </div>
//   <span id="state" class="badge plain live-state">as of now</span>
//
// Each event's data is one flat JSON object: a figure's name and its text, set as text only.

/**
 * @param {HTMLElement} part
 */
const follow = (part) => {
  const address = part.dataset.figures ?? "";
  if (!/^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(address)) return;
  const state = document.getElementById(part.dataset.figuresState ?? "");

  /** @param {"on" | "off"} to @param {string} words */
  const tell = (to, words) => {
    if (state === null) return;
    state.dataset.state = to;
    state.textContent = words;
  };

  const source = new EventSource(address);
  source.addEventListener("open", () => tell("on", "live"));
  source.addEventListener("error", () => tell("off", "reconnecting"));
  source.addEventListener("message", (event) => {
    /** @type {Record<string, string>} */
    let figures;
    try {
      figures = JSON.parse(event.data);
    } catch {
      return;
    }
    part.querySelectorAll("[data-figure]").forEach((element) => {
      const figure = figures[element.getAttribute("data-figure") ?? ""];
      if (typeof figure === "string") element.textContent = figure;
    });
  });
  addEventListener("pagehide", () => source.close(), { once: true });
};

document.querySelectorAll("[data-figures]").forEach((part) => follow(/** @type {HTMLElement} */ (part)));
