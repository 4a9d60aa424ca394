"use strict";
(() => {
  const board = JSON.parse(document.getElementById("board").textContent);
  const byId = (id) => document.getElementById(id);
  const NONE = "—";

  /** Return an element with attributes and children; texts are never markup. */
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  };

  // ── numbers ──
  const point = (value) => {
    const size = Math.abs(value);
    // A number halfway between two goes to the even one, as in the files.
    const text = ((size * 1000) % 1 === 0.5 ? Math.round(size * 500) / 500 : size).toFixed(3);
    return (value < 0 && Number(text) ? "−" : "") + text.replace(/^0/, "");
  };
  const signed = (value) => (value > 0 && Number(value.toFixed(3)) ? "+" : "") + point(value);
  const isMissing = (value) => value === null || value === undefined || value === "" || value === NONE;
  const write = (column, row) => {
    const value = row[column.key];
    if (isMissing(value)) return NONE;
    if (column.look === "score" || column.look === "difference") {
      const each = column.look === "score" ? point : signed;
      const low = row[column.low], high = row[column.high];
      return each(value) + (isMissing(low) ? "" : ` [${each(low)}, ${each(high)}]`);
    }
    if (typeof value !== "number") return String(value);
    if (column.look === "bytes") return `${(value / 1e9).toFixed(1)} GB`;
    return column.look === "count" ? Math.round(value).toLocaleString("en") : point(value);
  };
  const judge = (low, high) => (isMissing(low) ? "" : low > 0 ? "ahead" : high < 0 ? "behind" : "");
  const named = { ahead: "ahead", behind: "behind", "": "not told apart" };

  // ── tables ──
  const decode = (values, n) => {
    if (!values) return new Array(n).fill(null);
    return Array.isArray(values) ? values : values.at.map((place) => values.texts[place]);
  };
  const rowsOf = (table) => {
    if (!table.rows) {
      const keys = Object.keys(table.values);
      const columns = keys.map((key) => decode(table.values[key], table.n));
      table.rows = Array.from({ length: table.n }, (_, number) => {
        const row = { number };
        for (let place = 0; place < keys.length; place += 1) row[keys[place]] = columns[place][number];
        return row;
      });
      table.values = null;
    }
    return table.rows;
  };
  const tables = Object.fromEntries(board.tables.map((table) => [table.name, table]));
  window.harnessPiece = (name, begin, piece) => {
    const table = tables[name];
    for (const [key, values] of Object.entries(piece)) {
      const own = decode(values);
      (table.pieces[key] ||= [])[begin / board.piece] = own;
    }
  };
  /** Load the files of a table that is too large for the page, once, however often it is asked for meanwhile. */
  const load = (table) => (table.loading ||= loadPieces(table).catch((error) => { table.loading = null; throw error; }));
  const loadPieces = async (table) => {
    if (!table.files) return;
    table.pieces = {};
    await Promise.all(
      table.files.map(
        (file) =>
          new Promise((done, fail) => {
            document.head.append(make("script", { src: file, onload: done, onerror: () => fail(new Error(file)) }));
          }),
      ),
    );
    table.values = Object.fromEntries(Object.entries(table.pieces).map(([key, pieces]) => [key, pieces.flat()]));
    table.files = table.pieces = null;
  };

  // ── state, kept in the address ──
  const readState = () => {
    const [place, text] = location.hash.slice(1).split("?");
    const given = new URLSearchParams(place === "tables" ? text || "" : "");
    const table = board.tables.find((one) => one.name === given.get("view")) || board.tables[0];
    const state = { view: table.name, group: board.groups[0], q: given.get("q") || "", sort: "", filters: {}, columns: null };
    if (board.groups.includes(given.get("group"))) state.group = given.get("group");
    const known = new Map(table.columns.map((column) => [column.key, column]));
    if (known.has((given.get("sort") || "").replace(/^-/, ""))) state.sort = given.get("sort");
    for (const [key, column] of known) if (column.filter && given.has(key)) state.filters[key] = given.get(key);
    const chosen = (given.get("columns") || "").split(",").filter((key) => known.has(key));
    if (chosen.length) state.columns = chosen;
    return state;
  };
  const writeState = (state) => {
    const given = new URLSearchParams();
    if (state.view !== board.tables[0].name) given.set("view", state.view);
    if (state.group !== board.groups[0]) given.set("group", state.group);
    if (state.q) given.set("q", state.q);
    if (state.sort) given.set("sort", state.sort);
    for (const [key, value] of Object.entries(state.filters)) given.set(key, value);
    if (state.columns) given.set("columns", state.columns.join(","));
    const text = given.toString();
    try {
      history.replaceState(null, "", `#tables${text ? `?${text}` : ""}`);
    } catch {
      // Some browsers take only so many in a minute; the next change is written again.
    }
  };

  // ── cells ──
  const collator = new Intl.Collator("en", { numeric: true });
  const compare = (one, other, first, second, column, direction) => {
    const lacks = isMissing(one), lack = isMissing(other);
    if (lacks || lack) return lacks && lack ? 0 : (lacks ? 1 : -1) * (direction === "asc" ? 1 : -1);
    return typeof one === "number" && typeof other === "number" ? one - other : collator.compare(one, other);
  };
  let scale = 0.1;
  const drawDifference = (column, row) => {
    const text = write(column, row);
    const low = row[column.low], high = row[column.high];
    if (isMissing(low)) return make("span", {}, text);
    const at = (value) => Math.max(0, Math.min(100, 50 + (48 * value) / scale));
    const judged = judge(low, high);
    return make(
      "span",
      { title: `${text}: ${named[judged]}` },
      text,
      make(
        "span",
        { class: `cell-bar ${judged}`, "aria-hidden": "true" },
        make("u"),
        make("i", { style: `left:${at(low)}%;width:${Math.max(1, at(high) - at(low))}%` }),
        make("b", { style: `left:${at(row[column.key])}%` }),
      ),
    );
  };
  const flagsOf = (text) => {
    const found = new Map();
    for (const flag of (text || "").split(", ").filter(Boolean)) {
      const name = flag.split(":")[0];
      found.set(name, [...(found.get(name) || []), flag]);
    }
    return [...found];
  };
  const drawFlags = (row) =>
    make(
      "span",
      {},
      ...flagsOf(row.flags).flatMap(([name, flags]) => [
        make("span", { class: "flag", tabindex: "0", title: `${board.flags[name] || ""} ${flags.join(", ")}` }, name),
        " ",
      ]),
    );
  const nameOf = (row) => [row.task, row.model, row.representation, row.width].filter((value) => !isMissing(value)).join(" · ");
  const drawOpener = (column, row) => {
    const text = write(column, row);
    return make("button", { type: "button", class: "open", onclick: () => open(row), "aria-haspopup": "dialog", "aria-label": `${text}: ${nameOf(row)}` }, text);
  };
  const WIDTHS = { score: 175, difference: 290, number: 90, count: 85, bytes: 100, flags: 330, outcome: 90, text: 140 };
  let opener = ""; // the first column that is shown opens a row
  const define = (column, shown) => ({
    title: column.title,
    field: column.key,
    visible: shown.has(column.key),
    sorter: compare,
    // A button, since a head of the library itself is out of a keyboard's reach; its click sorts the column.
    titleFormatter: () => make("button", { type: "button", class: "head", title: column.about }, column.title),
    width: column.key === "model" || column.key === "representation" || column.key === "task" ? 210 : WIDTHS[column.look || "text"],
    hozAlign: ["number", "count", "bytes"].includes(column.look) ? "right" : "left",
    formatter: (cell) => {
      const row = cell.getData();
      if (column.key === opener) return drawOpener(column, row);
      if (column.look === "difference") return drawDifference(column, row);
      if (column.look === "flags") return drawFlags(row);
      return make("span", { title: write(column, row) }, write(column, row));
    },
  });

  // ── one row, whole ──
  const open = (row) => {
    const table = tables[state.view];
    const dialog = byId("row");
    const command = make("pre", { tabindex: "0" }, row.command || NONE);
    const copied = make("span", { role: "status" });
    const copy = async () => {
      try {
        await navigator.clipboard.writeText(row.command); // there is no clipboard on a page without encryption
        copied.textContent = " copied";
      } catch {
        copied.textContent = " could not be copied";
      }
    };
    dialog.replaceChildren(
      make("h2", { id: "row-title" }, nameOf(row)),
      make("p", {}, "Made by: ", make("button", { type: "button", onclick: copy }, "Copy"), copied),
      command,
      make("p", { class: "note" }, "This runs the suite as it is offered where you are. As it was run here, it stands under Runs and downloads: where none of this name is offered, or it is another, save that as suite.yaml and name the file instead."),
      make("dl", {}, ...table.columns.filter((one) => one.key !== "flags").flatMap((one) => [make("dt", {}, one.title), make("dd", {}, write(one, row))])),
      make("h3", {}, "Flags"),
      make("dl", {}, ...(flagsOf(row.flags).flatMap(([name, flags]) => [make("dt", {}, name), make("dd", {}, `${board.flags[name] || ""} Here: ${flags.join(", ")}`)]))),
      row.flags ? "" : make("p", {}, "None."),
      ...(row.plugins ? [make("h3", {}, "Plugins"), make("ul", {}, ...row.plugins.split("\n").map((one) => make("li", {}, one))), make("p", { class: "note" }, "As the runs say themselves: version, interface, and whether harness check was run on these files.")] : []),
      make("p", {}, make("button", { type: "button", onclick: () => dialog.close() }, "Close")),
    );
    dialog.showModal();
    // The table may have drawn the row anew meanwhile: the focus goes back to where the row is now.
    dialog.onclose = () => grid.getRow(row.number)?.getElement().querySelector(".open")?.focus();
  };

  // ── the explorer ──
  let state = readState();
  let grid = null;
  const has = (row, key, value) => String(row[key] ?? "") === value;
  const matches = (row) => {
    if (row.group !== state.group) return false;
    for (const [key, value] of Object.entries(state.filters)) if (!has(row, key, value)) return false;
    if (!state.q) return true;
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    row.text ??= tables[state.view].columns.map((column) => row[column.key]).filter((value) => typeof value === "string").join(" ").toLowerCase();
    return words.every((word) => row.text.includes(word));
  };
  const shownOf = (table) => new Set(state.columns || table.columns.filter((column) => column.first).map((column) => column.key));
  const ofGroup = (table) => rowsOf(table).filter((row) => row.group === state.group);
  const say = () => {
    const table = tables[state.view];
    const own = ofGroup(table);
    const n = own.filter(matches).length;
    const chosen = table.columns.filter((column) => column.key in state.filters).map((column) => `${column.title} ${state.filters[column.key]}`);
    byId("selection").textContent = `${n.toLocaleString("en")} of ${own.length.toLocaleString("en")} lines` + (board.groups.length > 1 ? `, ${state.group}` : "") + (chosen.length ? `: ${chosen.join(", ")}` : "");
    showCard();
  };
  /** Show what a selected task is, above its lines. */
  const showCard = () => {
    const name = state.filters.task;
    byId("card").replaceChildren();
    if (!Object.hasOwn(board.tasks, name)) return;
    const task = board.tasks[name];
    byId("card").append(
      make("h3", {}, `Task ${name}`),
      make("dl", {}, ...Object.entries(task).flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, String(value))])),
    );
  };
  const apply = () => {
    writeState(state);
    grid.setFilter(matches);
    say();
  };
  const fillViews = () => {
    byId("about-view").textContent = tables[state.view].about || "";
    byId("views").replaceChildren(
      ...board.tables.map((one) =>
        make("button", { type: "button", "aria-pressed": String(one.name === state.view), onclick: () => go({ view: one.name, group: state.group }) }, one.title),
      ),
    );
  };
  /** Switch to other models; what none of their lines has is no longer asked for. */
  const goToGroup = (group) => {
    const rows = rowsOf(tables[state.view]).filter((row) => row.group === group);
    const kept = Object.entries(state.filters).filter(([key, value]) => rows.some((row) => has(row, key, value)));
    go({ ...state, group, filters: Object.fromEntries(kept) });
  };
  const fill = () => {
    const table = tables[state.view];
    const own = ofGroup(table);
    const form = byId("filters");
    form.replaceChildren();
    if (board.groups.length > 1) {
      form.append(select("models", board.groups, state.group, goToGroup, false));
    }
    form.append(
      make("label", {}, "search", make("input", { type: "search", value: state.q, autocomplete: "off", oninput: (event) => { state.q = event.target.value; apply(); } })),
    );
    for (const column of table.columns.filter((one) => one.filter)) {
      const values = [...new Set(own.map((row) => row[column.key]).filter((value) => !isMissing(value)).map(String))].sort(collator.compare);
      const chosen = state.filters[column.key];
      // What an address asks for can be seen, and taken back, also where no line has it.
      if (chosen && !values.includes(chosen)) values.push(chosen);
      else if (values.length < 2 && !chosen) continue;
      const choose = (value) => {
        if (value) state.filters[column.key] = value;
        else delete state.filters[column.key];
        apply();
      };
      form.append(select(column.title, values, chosen || "", choose, true));
    }
    const shown = shownOf(table);
    form.append(
      make(
        "details",
        {},
        make("summary", {}, "columns"),
        make(
          "div",
          {},
          ...table.columns.map((column) =>
            make(
              "label",
              {},
              make("input", { type: "checkbox", checked: shown.has(column.key), onchange: (event) => toggle(column.key, event.target.checked) }),
              column.title,
            ),
          ),
        ),
      ),
      make("button", { type: "button", onclick: () => go({ view: state.view, group: state.group }) }, "reset"),
      make("button", { type: "button", onclick: download }, "CSV of these"),
    );
  };
  /** Write the lines and columns that are shown, with the ends of intervals; no text in it is a formula. */
  const download = () => {
    const table = tables[state.view];
    const shown = shownOf(table);
    const keys = table.columns.filter((one) => shown.has(one.key)).flatMap((one) => [one.key, one.low, one.high].filter(Boolean));
    const cell = (value) => {
      if (isMissing(value) || typeof value === "number") return isMissing(value) ? "" : String(value);
      return `"${value.replace(/^(?=\s*[=+\-@＝＋－＠])/, "'").replaceAll('"', '""')}"`;
    };
    const lines = [keys, ...grid.getData("active").map((row) => keys.map((key) => cell(row[key])))];
    const address = URL.createObjectURL(new Blob(lines.map((line) => `${line.join(",")}\n`), { type: "text/csv" }));
    make("a", { href: address, download: `${state.view}.csv` }).click();
    URL.revokeObjectURL(address);
  };
  const select = (title, values, chosen, choose, all) =>
    make(
      "label",
      {},
      title,
      make(
        "select",
        { onchange: (event) => choose(event.target.value) },
        ...(all ? [make("option", { value: "" }, "all")] : []),
        ...values.map((value) => make("option", { value, selected: value === chosen }, value)),
      ),
    );
  const chooseOpener = (table) => {
    const shown = shownOf(table);
    opener = table.columns.find((column) => shown.has(column.key))?.key;
  };
  const toggle = (key, isShown) => {
    const table = tables[state.view];
    const shown = shownOf(table);
    if (isShown) shown.add(key);
    else shown.delete(key);
    state.columns = table.columns.map((column) => column.key).filter((one) => shown.has(one));
    if (isShown) grid.showColumn(key);
    else grid.hideColumn(key);
    chooseOpener(table);
    grid.redraw(true);
    writeState(state);
  };
  const go = (next) => {
    state = { q: "", sort: "", filters: {}, columns: null, ...next };
    writeState(state);
    draw();
  };
  const draw = async () => {
    const table = tables[state.view];
    fillViews();
    byId("selection").textContent = "Loading …";
    try {
      await load(table);
    } catch (error) {
      if (table === tables[state.view]) byId("selection").textContent = `${error.message} is missing: it belongs beside this page.`;
      return;
    }
    if (table !== tables[state.view]) return; // another was chosen meanwhile
    scale = 0.05;
    for (const row of rowsOf(table)) {
      const end = Math.max(Math.abs(row.delta_vs_hidden_low ?? 0), Math.abs(row.delta_vs_hidden_high ?? 0));
      if (end > scale) scale = end;
    }
    fill();
    grid?.destroy();
    delete document.documentElement.dataset.ready;
    chooseOpener(table);
    const shown = shownOf(table);
    grid = new Tabulator("#grid", {
      data: rowsOf(table),
      columns: table.columns.map((column) => define(column, shown)),
      index: "number",
      layout: "fitData",
      height: ofGroup(table).length > 15 ? "75vh" : false,
      rowHeight: 34,
      renderVertical: "virtual",
      renderVerticalBuffer: 100,
      renderHorizontal: "virtual",
      autoResize: false, // it would draw anew as soon as the table is scrolled to, and take the focus of who tabs into it
      columnDefaults: { headerSortTristate: false, resizable: "header" },
      initialSort: state.sort ? [{ column: state.sort.replace(/^-/, ""), dir: state.sort.startsWith("-") ? "desc" : "asc" }] : [],
      initialFilter: matches,
      placeholder: "No line has all of this: reset the filters.",
      sortMode: "local",
    });
    grid.on("dataSorted", (sorters) => {
      const [first] = sorters;
      state.sort = first ? `${first.dir === "desc" ? "-" : ""}${first.field}` : "";
      if (document.documentElement.dataset.ready && sorters.length) writeState(state);
    });
    grid.on("tableBuilt", () => {
      // A grid may hold rows alone; those can be reached without a stop of their own at what scrolls them.
      byId("grid").querySelector(".tabulator-tableholder").removeAttribute("tabindex");
      document.documentElement.dataset.ready = String(performance.now());
    });
    say();
  };

  // ── heat maps ──
  const SEQUENTIAL = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const DIVERGING = [[33, 102, 172], [146, 197, 222], [247, 247, 247], [244, 165, 130], [178, 24, 43]];
  const colour = (stops, level) => {
    const at = Math.max(0, Math.min(1, level)) * (stops.length - 1);
    const begin = Math.min(stops.length - 2, Math.floor(at));
    return stops[begin].map((value, channel) => Math.round(value + (stops[begin + 1][channel] - value) * (at - begin)));
  };
  const isDark = ([red, green, blue]) => 0.2126 * (red / 255) ** 2.2 + 0.7152 * (green / 255) ** 2.2 + 0.0722 * (blue / 255) ** 2.2 < 0.18;
  const drawMatrix = (matrix) => {
    const place = byId("matrix");
    place.replaceChildren();
    for (const one of matrix.maps) {
      let first = "0"; // the first cell with a value is a stop of the tab key; arrow keys lead to the others
      const each = one.diverging ? signed : point;
      const rows = matrix.trained.map((trained, down) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, trained),
          ...matrix.tested.map((tested, across) => {
            const value = one.values[down][across];
            if (value === null) return make("td", { title: `${trained} → ${tested}: none` }, "");
            const fill = colour(one.diverging ? DIVERGING : SEQUENTIAL, (value - one.low) / (one.high - one.low));
            const stop = first;
            first = "-1";
            return make(
              "td",
              { tabindex: stop, title: `trained in ${trained}, tested in ${tested}: ${each(value)}`, style: `background:rgb(${fill});color:${isDark(fill) ? "#fff" : "#000"}` },
              each(value),
            );
          }),
        ),
      );
      const head = make("tr", {}, make("th", { scope: "col" }, "trained in"), ...matrix.tested.map((tested) => make("th", { scope: "col" }, tested)));
      const table = make("table", {}, make("caption", {}, make("span", {}, `${matrix.task}, ${matrix.row}: ${one.title}. From ${each(one.low)} to ${each(one.high)}.`)), make("thead", {}, head), make("tbody", {}, ...rows));
      table.addEventListener("keydown", move);
      place.append(table);
    }
  };
  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const move = (event) => {
    const step = STEPS[event.key];
    const cell = event.target.closest("td");
    if (!step || !cell) return;
    const row = cell.parentElement;
    const next = row.parentElement.rows[row.sectionRowIndex + step[0]]?.cells[cell.cellIndex + step[1]];
    if (next?.tagName === "TD") {
      cell.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }
    event.preventDefault();
  };
  const chooseMatrix = () => {
    if (!board.matrices.length) return;
    const tasks = [...new Set(board.matrices.map((one) => one.task))];
    const form = byId("matrix-choice");
    const fillMatrix = (task, row) => {
      const own = board.matrices.filter((one) => one.task === task);
      const chosen = own.find((one) => one.row === row) || own[0];
      form.replaceChildren(
        select("task", tasks, task, (value) => fillMatrix(value, chosen.row), false),
        " ",
        select("row", own.map((one) => one.row), chosen.row, (value) => fillMatrix(task, value), false),
      );
      drawMatrix(chosen);
    };
    // A dictionary's map first: it has differences from hidden states beside it.
    fillMatrix(tasks[0], board.matrices.find((one) => one.task === tasks[0] && one.maps.some((map) => map.diverging) && !one.control)?.row);
  };

  // ── colours of the page ──
  const theme = byId("theme");
  const paint = (name) => {
    document.documentElement.dataset.theme = name;
    theme.setAttribute("aria-pressed", String(name === "dark"));
  };
  const preferred = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  paint(preferred);
  theme.addEventListener("click", () => paint(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));

  addEventListener("resize", () => grid?.redraw());
  addEventListener("hashchange", () => {
    if (location.hash === "#tables") writeState(state); // a link to the tables; what is shown there stays
    if (!location.hash.startsWith("#tables?")) return;
    state = readState();
    draw();
    byId("tables").scrollIntoView();
  });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("matrix-choice")?.addEventListener("submit", (event) => event.preventDefault());
  chooseMatrix();
  draw();
  if (location.hash.startsWith("#tables?")) byId("tables").scrollIntoView();
})();
