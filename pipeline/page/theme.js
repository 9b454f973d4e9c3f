// Light or dark, before anything is drawn: the system's choice, until somebody chooses another for this browser.
(function () {
  "use strict";
  const kept = localStorage.getItem("karman-theme");
  const dark = kept ? kept === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
