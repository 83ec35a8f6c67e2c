// Which rows are shown, and in which order. Pure.

const names = new Intl.Collator("en", { numeric: true });

/** What a sort says, such as "-lag": the column's id and the direction. */
export function parse(sort) {
  const isDown = sort.startsWith("-");
  return { id: isDown ? sort.slice(1) : sort, sign: isDown ? -1 : 1 };
}

// What is not known comes last in both directions.
function compare(one, two, sign) {
  if (one === two) return 0;
  if (one === null || one === undefined) return 1;
  if (two === null || two === undefined) return -1;
  return sign * (typeof one === "string" ? names.compare(one, two) : one - two);
}

/** The rows in the order of `sorts`, the first of which counts most; `values` gives a row's value of a column's id. */
export function ordered(rows, sorts, values) {
  const parsed = sorts.map(parse);
  const keyed = rows.map((row) => ({ row, keys: parsed.map(({ id }) => values[id](row)) }));
  keyed.sort((one, two) => {
    for (let index = 0; index < parsed.length; index += 1) {
      const order = compare(one.keys[index], two.keys[index], parsed[index].sign);
      if (order !== 0) return order;
    }
    return 0;
  });
  return keyed.map(({ row }) => row);
}

/** The rows that contain every word of a search; `text` gives all that is searched of a row. */
export function found(rows, search, text) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return rows;
  return rows.filter((row) => {
    const all = text(row).toLowerCase();
    return words.every((one) => all.includes(one));
  });
}
