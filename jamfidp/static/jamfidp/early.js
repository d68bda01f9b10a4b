// Runs before the first paint: puts the choices kept in this browser on <html>, so
// that neither the theme nor the navigation changes under the reader's eyes.
(() => {
  const root = document.documentElement;
  const kept = (name) => {
    try {
      return localStorage.getItem(`console.${name}`);
    } catch {
      return null; // storage is switched off
    }
  };
  root.dataset.js = "";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => {
    const choice = kept("theme");
    const system = dark.matches ? "dark" : "light";
    root.dataset.bsTheme = choice === "light" || choice === "dark" ? choice : system;
  };
  theme();
  dark.addEventListener("change", theme);
  root.dataset.density = kept("density") === "compact" ? "compact" : "comfortable";
  root.dataset.nav = kept("nav") === "narrow" ? "narrow" : "wide";
  root.dataset.closed = kept("closed") ?? "";
})();
