"use strict";
(async () => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const specs = read("specs");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const options = {
    renderer: "svg",
    config: read("theme"),
    actions: { export: true, source: false, compiled: false, editor: false },
    tooltip: { theme: dark.matches ? "dark" : "light" },
  };
  const views = {};
  let drawn = 0;
  for (const [id, figure] of Object.entries(specs)) {
    views[id] = [];
    for (const place of document.querySelectorAll(`#${id} .panel`)) {
      try {
        const embedded = await vegaEmbed(place, figure.panels[place.dataset.panel], options);
        views[id].push(embedded.view);
        drawn += 1;
      } catch (error) {
        pageFailed(`${id}: ${error.message}`);
      }
    }
  }
  const choose = (select) => {
    for (const view of views[select.dataset.figure]) {
      view.signal(select.dataset.signal, JSON.parse(select.value)).runAsync();
    }
  };
  for (const select of document.querySelectorAll("select[data-signal]")) {
    select.addEventListener("change", () => choose(select));
    // A browser that reloads a page keeps what was chosen before.
    const first = specs[select.dataset.figure].signals[select.dataset.signal];
    if (JSON.parse(select.value) !== first) {
      choose(select);
    }
  }
  document.documentElement.dataset.panels = drawn;
})();
