/* Light or dark, before the first paint: as the system has it, or as chosen here. No module, so that nothing flashes. */
(() => {
  const kept = () => {
    try {
      return localStorage.getItem("regard-theme");
    } catch {
      return null;
    }
  };
  const root = document.documentElement;
  if (kept()) root.dataset.theme = kept();
  const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const say = () => button.setAttribute("aria-pressed", String(isDark()));
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try {
        localStorage.setItem("regard-theme", root.dataset.theme);
      } catch {
        /* the choice lasts as long as the page */
      }
      say();
    });
    say();
  });
})();
