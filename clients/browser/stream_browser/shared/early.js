/*
 * Runs before the first paint, as a classic script in the head of every page: which theme, and whether the page is an
 * overlay. Only what would flash if it came later; it does not know the page.
 *
 * Sets `data-theme` ("light" or "dark") and `data-mode` ("page" or "overlay") on the root element. The theme is that of
 * the system until localStorage "stream-server.theme" says "light" or "dark"; `stream-theme` events tell of a change.
 * Overlays are dark: their letters are bright, whatever lies behind.
 */
(() => {
  const root = document.documentElement;
  const isOverlay = new URLSearchParams(location.search).has("overlay");
  const system = matchMedia("(prefers-color-scheme: dark)");

  const chosen = () => {
    try {
      return localStorage.getItem("stream-server.theme");
    } catch {
      return null; // storage is forbidden: the system's theme
    }
  };

  const apply = () => {
    const theme = chosen();
    const isDark = isOverlay || theme === "dark" || (theme !== "light" && system.matches);
    root.dataset.theme = isDark ? "dark" : "light";
  };

  apply();
  root.dataset.mode = isOverlay ? "overlay" : "page";
  system.addEventListener("change", apply);
  addEventListener("storage", apply);
  addEventListener("stream-theme", apply);
})();
