// The tools' icons: one path each, on a field of 16 by 16.

export const ICONS = {
  "tool-window": "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11zM8 2.5v11M8 5h4M8 8h5.4M8 11h4",
  "tool-zoom": "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10.3 10.3 14 14M5 7h4M7 5v4",
  "tool-pan": "M8 1.5v13M1.5 8h13M6 3.5l2-2 2 2M6 12.5l2 2 2-2M3.5 6l-2 2 2 2M12.5 6l2 2-2 2",
  "tool-scroll": "M3 5.5h10M3 8h10M3 10.5h10M6 3l2-1.7L10 3M6 13l2 1.7L10 13",
  "tool-ruler": "M2 11.5 11.5 2 14 4.5 4.5 14zM5 8.5l1.2 1.2M7.2 6.3 9 8.1M9.4 4.1l1.2 1.2",
  invert: "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11z",
  "rotate-right": "M12.5 8A4.5 4.5 0 1 1 9 3.6M9 1.2l2.6 2.2L9.3 6",
  "flip-across": "M8 2v12M6 4.5 2.5 11.5H6zM10 4.5l3.5 7H10z",
  fit: "M2.5 5.5v-3h3M13.5 5.5v-3h-3M2.5 10.5v3h3M13.5 10.5v3h-3M5.5 5.5h5v5h-5z",
  "one-to-one": "M3.5 5 5 4v8M11 5l1.5-1v8M8.3 6.3v.1M8.3 9.7v.1",
  reset: "M3.5 8A4.5 4.5 0 1 0 7 3.6M7 1.2 4.4 3.4 6.7 6",
  cine: "M5 3.5v9L12.5 8z",
  planes: "M2.5 2.5h7v11h-7zM9.5 2.5h4v5.5h-4zM9.5 8h4v5.5h-4z",
};
