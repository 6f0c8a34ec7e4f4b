// Loaded before the page is painted: puts the chosen colours on, or leaves the choice to the system.
(() => {
  const root = document.documentElement;
  const dark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const stored = localStorage.getItem("mnatune.theme");
  if (stored === "dark" || stored === "light") root.dataset.theme = stored;
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = () => { button.textContent = dark() ? "밝은 화면" : "어두운 화면"; };
    label();
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      localStorage.setItem("mnatune.theme", root.dataset.theme);
      label();
    });
  });
})();
