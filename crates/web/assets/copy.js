// Copy buttons, <button data-copy="id-of-text" hidden>, and <button data-print hidden>. Shown only where
// they can work.

/**
 * @param {HTMLButtonElement} button
 */
const arm = (button) => {
  const text = document.getElementById(button.dataset.copy ?? "");
  if (text === null || navigator.clipboard === undefined) return;
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent ?? "");
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy by hand";
    }
    setTimeout(() => {
      button.textContent = label;
    }, 2000);
  });
};

document.querySelectorAll("[data-copy]").forEach((button) => arm(/** @type {HTMLButtonElement} */ (button)));

document.querySelectorAll("[data-print]").forEach((found) => {
  const button = /** @type {HTMLButtonElement} */ (found);
  button.hidden = false;
  button.addEventListener("click", () => window.print());
});
