"use strict";
(async () => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const specs = read("specs");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const options = {
    renderer: "svg",
    config: read("theme"),
    actions: false,
    tooltip: { theme: dark.matches ? "dark" : "light" },
  };
  const views = {};
  let drawn = 0;
  for (const [id, figure] of Object.entries(specs)) {
    views[id] = [];
    for (const place of document.querySelectorAll(`#${id} .panel`)) {
      try {
        const embedded = await vegaEmbed(place, figure.panels[place.dataset.panel], options);
        embedded.view.addEventListener("click", (event, item) => {
          if (item && item.datum && ["symbol", "rect", "text"].includes(item.mark.marktype)) {
            document.dispatchEvent(new CustomEvent("mark", { detail: item.datum }));
          }
        });
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
  // What is drawn, to keep: the rows behind a figure, or its panels below each other.
  const largest = ({ datasets = {} }) =>
    Object.values(datasets).reduce((most, own) => (own.length > most.length ? own : most), []);
  const csv = (id) => {
    const rows = specs[id].panels.flatMap(largest);
    const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    const quoted = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const lines = rows.map((row) => names.map((name) => quoted(row[name])).join(","));
    return [...new Set([names.join(","), ...lines])].join("\n") + "\n";
  };
  const svg = async (id) => {
    const whole = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    let top = 0;
    let widest = 0;
    for (const view of views[id]) {
      const text = await view.toSVG();
      const panel = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
      panel.setAttribute("y", top);
      top += Number(panel.getAttribute("height")) + 12;
      widest = Math.max(widest, Number(panel.getAttribute("width")));
      whole.append(panel);
    }
    whole.setAttribute("width", widest);
    whole.setAttribute("height", top);
    whole.setAttribute("viewBox", `0 0 ${widest} ${top}`);
    whole.setAttribute("style", "color:#1d2227;background:#fff");
    return new XMLSerializer().serializeToString(whole);
  };
  const png = async (id) => {
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(await svg(id))}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [2 * image.width, 2 * image.height];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  };
  const makers = {
    csv: async (id) => new Blob([csv(id)], { type: "text/csv" }),
    svg: async (id) => new Blob([await svg(id)], { type: "image/svg+xml" }),
    png,
  };
  for (const button of document.querySelectorAll("button[data-save]")) {
    button.parentElement.hidden = false;
    button.addEventListener("click", async () => {
      const { figure, save } = button.dataset;
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await makers[save](figure));
      link.download = `${figure}.${save}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }
  document.documentElement.dataset.panels = drawn;
})();
