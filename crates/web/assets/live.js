// Live lists and figures. A list shows server-sent events at its top, oldest off the end:
//
//   <tbody data-live="/console/events/stream" data-live-max="50" data-live-state="state">
//     <template><tr><td data-field="kind"></td><td><a data-field="id" data-field-href="href"></a></td></tr></template>
//   </tbody>
//   <span id="state" class="badge plain live-state">waiting</span>
//
// Figures are changed in place:
//
//   <div data-figures="/console/nodes/stream" data-figures-state="state">
//     <p data-figure="pending">3</p>
//   </div>
//
// Each event's data is one flat JSON object. Values are only ever set as text, and addresses only
// where they are paths on this site, so that an event cannot write markup.

/**
 * @typedef {Record<string, string | number | boolean | null>} Row
 */

/**
 * @param {unknown} value
 * @returns {value is string}
 */
const isLocalPath = (value) => typeof value === "string" && /^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(value);

/**
 * @param {Element} element
 * @param {Row} row
 */
const fill = (element, row) => {
  const field = element.getAttribute("data-field");
  if (field !== null) element.textContent = String(row[field] ?? "");
  const href = element.getAttribute("data-field-href");
  if (href !== null && isLocalPath(row[href])) element.setAttribute("href", row[href]);
  const tone = element.getAttribute("data-field-tone");
  if (tone !== null && /^(plain|good|warn|bad|note)$/.test(String(row[tone]))) {
    element.className = `badge ${row[tone]}`;
  }
};

/**
 * Follows a stream, saying beside it whether it is heard.
 * @param {string | undefined} address
 * @param {string | undefined} stateId
 * @param {(data: Row) => void} show
 */
const follow = (address, stateId, show) => {
  if (!isLocalPath(address)) return;
  const state = document.getElementById(stateId ?? "");

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
    /** @type {Row} */
    let data;
    try {
      data = JSON.parse(event.data);
    } catch {
      return;
    }
    show(data);
  });
  addEventListener("pagehide", () => source.close(), { once: true });
};

/**
 * @param {HTMLElement} list
 */
const followList = (list) => {
  const template = list.querySelector("template");
  if (template === null) return;
  const most = Math.min(Number(list.dataset.liveMax) || 50, 500);
  follow(list.dataset.live, list.dataset.liveState, (row) => {
    const part = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    part.querySelectorAll("[data-field], [data-field-href], [data-field-tone]").forEach((e) => fill(e, row));
    part.firstElementChild?.classList.add("new");
    template.after(part);
    // The template itself is a child.
    while (list.childElementCount > most + 1) list.lastElementChild?.remove();
  });
};

/**
 * @param {HTMLElement} part
 */
const followFigures = (part) => {
  follow(part.dataset.figures, part.dataset.figuresState, (figures) => {
    part.querySelectorAll("[data-figure]").forEach((element) => {
      const figure = figures[element.getAttribute("data-figure") ?? ""];
      if (typeof figure === "string") element.textContent = figure;
    });
  });
};

document.querySelectorAll("[data-live]").forEach((list) => followList(/** @type {HTMLElement} */ (list)));
document.querySelectorAll("[data-figures]").forEach((part) => followFigures(/** @type {HTMLElement} */ (part)));
