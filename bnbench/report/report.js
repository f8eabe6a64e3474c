// Sorting and filtering of the record table, a hint at what scrolls, and folded parts opened for print. The page is whole
// without it.
(() => {
  "use strict";

  const hints = new ResizeObserver((boxes) => {
    for (const { target } of boxes) target.nextElementSibling.hidden = target.scrollWidth <= target.clientWidth + 1;
  });
  for (const box of document.querySelectorAll(".scroll")) {
    const hint = document.createElement("p");
    hint.className = "hint";
    hint.textContent = "↔ More columns: scroll sideways.";
    box.after(hint);
    hints.observe(box);
  }

  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not([open])")) {
      part.dataset.folded = "";
      part.open = true;
    }
  });
  addEventListener("afterprint", () => {
    for (const part of document.querySelectorAll("details[data-folded]")) {
      part.open = false;
      delete part.dataset.folded;
    }
  });

  const table = document.getElementById("records");
  if (!table) return;
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const original = [...body.rows];
  const collator = new Intl.Collator("en", { numeric: true });
  const ABSENT = "\u0000"; // the choice of rows that have nothing in a column

  const textOf = (row, column) => row.cells[column].textContent;
  const isNumber = (column) => "number" in heads[column].dataset;

  // What a column's cell sorts by: its number, its text, or null where it is empty.
  function keyOf(row, column) {
    if (!isNumber(column)) return textOf(row, column) || null;
    const { textContent, dataset } = row.cells[column];
    return dataset.value === undefined ? null : Number(dataset.value || textContent);
  }

  function sort(column, direction) {
    const keyed = [...body.rows].map((row) => ({ row, key: keyOf(row, column) }));
    const compare = isNumber(column) ? (a, b) => (a < b ? -1 : a > b ? 1 : 0) : collator.compare;
    keyed.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null); // empty ones last, both ways
      return (direction === "descending" ? -1 : 1) * compare(a.key, b.key);
    });
    body.append(...keyed.map(({ row }) => row));
    mark(column, direction);
  }

  function mark(column, direction) {
    heads.forEach((head, place) => {
      if (place === column) head.setAttribute("aria-sort", direction);
      else head.removeAttribute("aria-sort");
    });
  }

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () =>
      sort(column, head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending"),
    );
  });

  const controls = document.getElementById("controls");
  const choices = controls.querySelector(".choices");
  const search = controls.querySelector("input[type=search]");
  const count = document.getElementById("count");
  const selects = [];

  // The words a cell can be chosen by: several where commas part them, as in the column of noise.
  const wordsOf = (row, column) => {
    const text = textOf(row, column).trim();
    if (!text) return [ABSENT];
    return heads[column].dataset.filter === "words" ? text.split(/\s*,\s*/) : [text];
  };

  heads.forEach((head, column) => {
    if (!("filter" in head.dataset)) return;
    const found = new Map();
    for (const row of original) for (const word of wordsOf(row, column)) if (!found.has(word)) found.set(word, keyOf(row, column));
    if (found.size < 2) return;
    const words = [...found.keys()];
    if (isNumber(column)) words.sort((a, b) => (found.get(a) ?? Infinity) - (found.get(b) ?? Infinity));
    else if (head.dataset.filter !== "order") words.sort(collator.compare);
    const select = document.createElement("select");
    select.add(new Option("all", ""));
    for (const word of words) select.add(new Option(word === ABSENT ? "(none)" : word, word));
    const label = document.createElement("label");
    label.append(head.textContent.trim(), select);
    choices.append(label);
    selects.push({ column, select });
    select.addEventListener("change", filter);
  });

  const texts = new Map(); // of rows, made when first searched

  function filter() {
    const chosen = selects.filter(({ select }) => select.value);
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of original) {
      let fits = chosen.every(({ column, select }) => wordsOf(row, column).includes(select.value));
      if (fits && wanted.length) {
        if (!texts.has(row)) texts.set(row, [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
        fits = wanted.every((word) => texts.get(row).includes(word));
      }
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = shown === original.length ? `All ${shown} records are shown.` : `${shown} of ${original.length} records are shown.`;
  }

  search.addEventListener("input", filter);
  controls.querySelector("button[type=reset]").addEventListener("click", () => {
    for (const { select } of selects) select.value = "";
    search.value = "";
    body.append(...original);
    mark(-1, "");
    filter();
  });
  filter();
  controls.hidden = false;
})();
