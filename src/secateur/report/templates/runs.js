"use strict";
(() => {
  const { columns, levels, shown } = JSON.parse(document.getElementById("run-columns").textContent);
  const AT_MOST = 100;
  const table = {};
  for (const [name, column] of Object.entries(columns)) {
    table[name] = Array.isArray(column) ? column : column.at.map((k) => column.of[k]);
  }
  const size = table.id.length;
  const place = document.getElementById("runs");
  const body = place.querySelector("tbody");
  const selects = [...place.querySelectorAll("select[data-run]")];
  const near = (one, other) =>
    typeof one === "number" && typeof other === "number" ? Math.abs(one - other) < 1e-4 : one === other;
  const words = {
    level: (value) => (levels.find(([asked]) => near(asked, value)) || [0, String(value)])[1],
    percent: (value) => `${(100 * value).toFixed(1)}\u00a0%`,
    count: (value) => value.toLocaleString("en"),
    text: (value) => (value === "" ? "–" : String(value)),
  };
  const cell = (kind, value, id) => {
    const made = document.createElement("td");
    if (kind === "run") {
      const link = document.createElement("a");
      link.href = `runs/${encodeURIComponent(id)}/result.json`;
      link.textContent = `runs/${id}`;
      made.append(link);
    } else {
      made.textContent = value === null || value === undefined ? "–" : words[kind](value);
      made.className = kind === "text" ? "" : "n";
    }
    return made;
  };
  let order = null;
  const show = () => {
    const wanted = selects
      .filter((select) => select.value !== "")
      .map((select) => [table[select.dataset.run], JSON.parse(select.value)]);
    const found = [];
    for (let k = 0; k < size; k += 1) {
      if (wanted.every(([column, value]) => near(column[k], value))) found.push(k);
    }
    if (order) {
      const key = table[order.name];
      found.sort((a, b) => {
        if (key[a] === null || key[b] === null) return (key[a] === null) - (key[b] === null);
        return (key[a] < key[b] ? -1 : key[a] > key[b] ? 1 : 0) * order.way;
      });
    }
    body.replaceChildren(
      ...found.slice(0, AT_MOST).map((k) => {
        const line = document.createElement("tr");
        line.append(...shown.map(([name, kind]) => cell(kind, table[name][k], table.id[k])));
        return line;
      }),
    );
    const first = found.length > AT_MOST ? `, the first ${AT_MOST} shown` : "";
    const said = `${found.length.toLocaleString("en")} of ${size.toLocaleString("en")} runs${first}`;
    place.querySelector("[role=status]").textContent = said;
    place.dataset.found = found.length;
  };
  const choose = (name, value) => {
    const select = selects.find((one) => one.dataset.run === name);
    const option = [...select.options].find(
      (one) => one.value !== "" && near(JSON.parse(one.value), value),
    );
    select.value = option ? option.value : "";
  };
  for (const select of selects) select.addEventListener("change", show);
  place.querySelectorAll("button[data-sort]").forEach((button) => {
    button.addEventListener("click", () => {
      const name = button.dataset.sort;
      order = { name, way: order && order.name === name ? -order.way : 1 };
      place.querySelectorAll("th").forEach((th) => th.removeAttribute("aria-sort"));
      const way = order.way > 0 ? "ascending" : "descending";
      button.closest("th").setAttribute("aria-sort", way);
      show();
    });
  });
  place.querySelector("button[data-reset]").addEventListener("click", () => {
    for (const select of selects) select.value = "";
    show();
  });
  document.addEventListener("mark", ({ detail }) => {
    if (!detail.network) return;
    const unpruned = detail.criterion === undefined || detail.ratio === 0;
    choose("network", detail.network);
    choose("strength", detail.strength);
    choose("criterion", unpruned ? "unpruned" : detail.criterion);
    choose("scope", unpruned ? undefined : detail.scope);
    choose("ratio", unpruned || detail.ratio === undefined ? undefined : Number(detail.ratio));
    show();
    place.scrollIntoView({ block: "nearest" });
  });
  show();
})();
