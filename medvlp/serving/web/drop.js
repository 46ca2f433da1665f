// What was dropped, as files; and the one of them by which a series is looked at first.

/** Files of what was dropped, folders walked through. */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return transfer.files;
  const files = [];
  const walk = async (entry) => {
    if (entry.isFile) files.push(await new Promise((yes, no) => entry.file(yes, no)));
    else {
      const reader = entry.createReader(), read = () => new Promise((yes, no) => reader.readEntries(yes, no));
      for (let part = await read(); part.length; part = await read()) for (const each of part) await walk(each);
    }
  };
  for (const entry of entries) await walk(entry);
  return files;
}

const LEAST = 16, LARGEST = 2 ** 26;

/** The middle file by name of many, which is most often near the middle of their series; null of few or of large ones. */
export function middleOf(files) {
  if (files.length < LEAST) return null;
  const { compare } = new Intl.Collator("en", { numeric: true }), name = (file) => file.webkitRelativePath || file.name;
  const file = files.toSorted((a, b) => compare(name(a), name(b)))[files.length >> 1];
  return file.size <= LARGEST ? file : null;
}
