"""How cohorts of millions start: a manifest of 10^7 rows, and 10^6 pictures in shards.

    OMP_NUM_THREADS=1 python tests/benchmarks/shards_scale.py --out /tmp/scale

Each measurement is a process of its own and prints one JSON line: wall and processor seconds from opening the manifest
to the first batch (``first``: nothing in the cache; ``again``: every later start), the peak of resident and the size of
anonymous memory in GB (pages of a mapped file are resident, but are the system's to take back), and whether the epoch
holds every record once and a resume in its middle, with two workers, gives the same batch. Exit 1 where it does not, or
above 10 processor seconds or 1 GB of anonymous memory. Pictures share one small PNG's bytes; headers are theirs.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks._report import print_report

pc = pyarrow.compute
PIECE, EACH = 1 << 20, 10_000  # rows written at once, pictures a shard


def picture() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(stream, "PNG")
    return stream.getvalue()


def write_manifest(path: Path, count: int, *, size: int) -> None:
    """Rows of six columns; pictures lie where `write_shards` puts them."""
    step = 512 + -(-size // 512) * 512
    writer = None
    for start in range(0, count, PIECE):
        rows = np.arange(start, min(count, start + PIECE))
        key = pc.utf8_lpad(pa.array(rows).cast(pa.string()), 12, "0")
        shard = pc.utf8_lpad(pa.array(rows // EACH).cast(pa.string()), 6, "0")
        offset = pa.array(512 + rows % EACH * step).cast(pa.string())
        table = pa.table(
            {
                "id": key,
                "image": pc.binary_join_element_wise("shard-", shard, ".tar/", offset, f"+{size}/", key, ".png", ""),
                "id.patient": pc.binary_join_element_wise("p", pa.array(rows // 2).cast(pa.string()), ""),
                "label.effusion": pa.array((rows % 2).astype(np.float32)),
                "split": pa.array(np.where(rows // 2 % 10 == 0, "test", "train")),
                "text": pc.binary_join_element_wise(
                    "Effusion of grade ", pa.array(rows % 7).cast(pa.string()), ".", ""
                ),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    writer.close()


def write_shards(folder: Path, count: int, data: bytes) -> None:
    """One block of all members of a shard is made once; names and checksums are written into it."""
    import tarfile

    from medvlp.data.shard_index import SCHEMA

    head = tarfile.TarInfo("0" * 12 + ".png")
    head.size = len(data)
    member = head.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)
    blocks = np.tile(np.frombuffer(member, np.uint8), (EACH, 1))
    plain = int(member[148:154], 8)
    sha, shards = hashlib.sha256(data).digest(), range(-(-count // EACH))
    sizes = {f"shard-{n:06}.tar": min(EACH, count - n * EACH) * len(member) + 10240 for n in shards}
    schema = SCHEMA.with_metadata({"medvlp": json.dumps({"shards": sizes})})
    writer = pq.ParquetWriter(folder / "index.parquet", schema, compression="zstd")
    for number in shards:
        rows = np.arange(number * EACH, min(count, (number + 1) * EACH))
        digits = rows[:, None] // 10 ** np.arange(11, -1, -1) % 10
        blocks[: len(rows), :12] = digits + ord("0")
        sums = plain + digits.sum(1)
        blocks[: len(rows), 148:154] = sums[:, None] // 8 ** np.arange(5, -1, -1) % 8 + ord("0")
        name = f"shard-{number:06}.tar"
        with open(folder / name, "wb") as file:
            blocks[: len(rows)].tofile(file)
            file.write(bytes(10240))
        keys = [f"{row:012}" for row in rows]
        table = pa.table(
            [[name] * len(rows), keys, [f"{key}.png" for key in keys], 512 + (rows % EACH) * len(member),
             [len(data)] * len(rows), [sha] * len(rows)], schema=schema,
        )  # fmt: skip
        writer.write_table(table)
    writer.close()


def peaks() -> dict[str, float]:
    lines = Path("/proc/self/status").read_text().splitlines()
    facts = {line.split(":")[0]: int(line.split()[1]) / 1e6 for line in lines if line.startswith(("VmHWM", "RssAnon"))}
    return {"resident_peak": round(facts["VmHWM"], 2), "anonymous": round(facts["RssAnon"], 2)}


def measure(path: Path, *, pictures: bool, part: str) -> dict[str, object]:
    """From the manifest to the first batch, then an epoch's order and a resume."""
    from medvlp.data.loader import Loader
    from medvlp.data.manifest import Manifest
    from medvlp.data.prepare import prepare
    from medvlp.data.views.read import Read

    wall, used = time.perf_counter(), time.process_time()
    manifest = Manifest.load(path).split_of(part)
    prepared = prepare(manifest if pictures else manifest.without("image"), [])
    suffix = [Read(size=16)] if pictures else []
    first = next(iter(Loader(prepared, suffix, batch=64, seed=1)))
    found: dict[str, object] = {
        "rows": len(manifest),
        "seconds": round(time.perf_counter() - wall, 1),
        "processor_seconds": round(time.process_time() - used, 1),
        "start": peaks(),
    }
    begin, batches = time.perf_counter(), 20
    for batch in itertools.islice(iter(Loader(prepared, suffix, batch=64, seed=1)), batches):
        last = batch
    found["samples_a_second"] = round(64 * batches / (time.perf_counter() - begin))
    resumed = next(iter(Loader(prepared, suffix, batch=64, seed=1, start=64 * (batches - 1), workers=2)))
    same = resumed.ids == last.ids and first.ids != last.ids
    if pictures:
        same = same and bool((resumed["image"].values == last["image"].values).all())
    sampler = Loader(prepared, suffix, batch=64, seed=1)._sampler
    counts = np.zeros(len(manifest), np.uint8)
    for start in range(0, len(manifest), PIECE):
        np.add.at(counts, sampler.indices(start, min(len(manifest), start + PIECE)), 1)
    return {**found, "resume_equal": bool(same), "epoch_exact": bool((counts == 1).all()), "end": peaks()}


def hashes(path: Path) -> dict[str, object]:
    """Every picture's hash, from the index, and leaks by patient."""
    from medvlp.data.leakage import check_split
    from medvlp.data.manifest import Manifest
    from medvlp.data.shard_index import column_hashes

    manifest, times = Manifest.load(path), [time.process_time()]
    found = column_hashes(manifest, "image")
    times.append(time.process_time())
    leaks = check_split(manifest, images=False)
    times.append(time.process_time())
    seconds = {name: round(seconds, 1) for name, seconds in zip(("hashes", "leaks"), np.diff(times), strict=True)}
    whole = found is not None and found.null_count == 0 and not leaks
    return {"rows": len(manifest), "all": whole, "processor_seconds": seconds, "end": peaks()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=10**7)
    parser.add_argument("--pictures", type=int, default=10**6)
    parser.add_argument("--one", choices=["rows", "pictures", "hashes"])
    options = parser.parse_args()
    tables = {"rows": options.out / "rows.parquet", "pictures": options.out / "manifest.parquet"}
    if options.one == "hashes":
        print(json.dumps(hashes(tables["pictures"])))
        return 0
    if options.one is not None:
        print(json.dumps(measure(tables[options.one], pictures=options.one == "pictures", part="train")))
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    begin, data = time.perf_counter(), picture()
    write_manifest(tables["rows"], options.rows, size=len(data))
    write_manifest(tables["pictures"], options.pictures, size=len(data))
    write_shards(options.out, options.pictures, data)
    print(f"written in {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    environment = {**os.environ, "MEDVLP_CACHE": str(options.out / "cache")}
    bad = 0
    for what, start in (
        ("rows", "first"),
        ("rows", "again"),
        ("pictures", "first"),
        ("pictures", "again"),
        ("hashes", ""),
    ):
        command = [sys.executable, __file__, "--out", str(options.out), "--one", what]
        ran = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        found = json.loads(ran.stdout)
        print_report(
            f"shards_scale {what} {start}".strip(), n=found.pop("rows"), packages=("pyarrow", "torch"), **found
        )
        if start:
            bad += not (found["resume_equal"] and found["epoch_exact"]) or found["processor_seconds"] > 10
            bad += found["start"]["anonymous"] > 1
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
