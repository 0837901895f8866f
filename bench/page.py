"""Writes the measured parts of docs/benchmarks.md from bench/results. What stands between the marks is replaced, all
other text is kept."""

import statistics

import results
from workloads import (
    CIFAR10,
    DECODING,
    FEATURES,
    GROWTH,
    INFERENCE,
    MEMORY,
    SERVING,
    SERVING_GOODPUT,
    SERVING_IDLE,
    SERVING_P99,
    SERVING_REFUSAL,
    SERVING_START,
    TRAINING,
    key_of,
)

PAGE = results.ROOT / "docs" / "benchmarks.md"
NOTHING = ["Not measured yet."]
INSTALL = {
    "PyTorch": "`pip install -r bench/requirements.txt`",
    "torch.compile": "`pip install -r bench/requirements.txt` and a C++ compiler",
    "ONNX Runtime": "`pip install -r bench/requirements.txt`",
    "OpenVINO": "`pip install -r bench/requirements.txt`",
    "Burn": "`cargo build --release` in bench/burn",
}


def write():
    text, everything = PAGE.read_text(), results.read_all()
    for name, make in PARTS.items():
        begin, end = f"<!-- generated: {name} -->\n", f"<!-- end of {name} -->\n"
        if begin not in text or end not in text:
            raise SystemExit(f'{PAGE} has lost its marks of "{name}": put back {begin.strip()} and {end.strip()}')
        head, _, rest = text.partition(begin)
        text = head + begin + "".join(line + "\n" for line in make(everything)) + end + rest.partition(end)[2]
    PAGE.write_text(text)


def per_machine(make):
    """A part that has one table a machine, under the machine's name if there are several."""

    def part(everything):
        lines = []
        for found in everything:
            table = make(found["entries"], found["machine"])
            if table and len(everything) > 1:
                lines += [f"**{found['machine']['processor']}**, {found['machine']['cores']} cores", ""]
            lines += [*table, ""] if table else []
        return lines[:-1] or NOTHING

    return part


def table(head, rows):
    if not rows:
        return []
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def family(side):
    """ "PyTorch" of "PyTorch, nhwc"."""
    return side.partition(",")[0]


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


class Speed:
    """The sides of one session; a figure is larger where it is better: images a second, at batch 1 too."""

    def __init__(self, work, entry):
        self.work, self.entry, self.sides = work, entry, entry["sides"]
        time = "median" if work.batch == 1 else "mean"
        self.rates = {
            side: [1e3 * facts["batch"] / turn[time] for turn in facts["turns"]] for side, facts in self.sides.items()
        }
        self.middle = {side: statistics.median(rates) for side, rates in self.rates.items()}

    def best(self, families):
        """The fastest side of these, or none."""
        return max((side for side in self.middle if family(side) in families), key=self.middle.get, default=None)

    def cell(self, name):
        side = self.best([name])
        if side is None:
            return "not measured"
        variant = side.partition(", ")[2]
        variant = f" {variant}" if variant not in ("", "flat") else ""
        if self.work.batch > 1:
            return f"{number(self.middle[side])}{variant}"
        p90 = statistics.median(turn["p90"] for turn in self.sides[side]["turns"])
        return f"{1e3 / self.middle[side]:.3g} ({p90:.3g}){variant}"

    def ratio(self):
        """Ratio of medians to the fastest peer that the bar names, its spread over rounds, and whether it is met."""
        peer = self.best(self.work.against)
        if peer is None or "Percept" not in self.sides:
            return ["", "", bar_cell(self.work.bar, None)]
        each = [ours / theirs for ours, theirs in zip(self.rates["Percept"], self.rates[peer])]
        ratio = self.middle["Percept"] / self.middle[peer]
        spread = f"{min(each):.2f} to {max(each):.2f}"
        return [f"**{ratio:.2f}** {family(peer)}", spread, bar_cell(self.work.bar, ratio >= self.work.bar)]

    def share_of_peak(self):
        if "Percept" not in self.sides:
            return ""
        flops = self.middle["Percept"] * self.sides["Percept"]["flops_per_image"]
        return f"{1e-7 * flops / self.entry['peak']:.0f} %"


def bar_cell(bar, met):
    return f"{bar:g}" + {None: "", True: ", met", False: ", **missed**"}[met]


def speed_rows(works, peers, entries):
    rows = []
    for work in works:
        entry = entries.get(key_of(work))
        if entry:
            speed = Speed(work, entry)
            cells = [speed.cell(peer) for peer in ("Percept", *peers)]
            rows.append(
                [
                    name_of(work),
                    *cells,
                    *speed.ratio(),
                    speed.share_of_peak(),
                    "" if entry["load"] is None else f"{entry['load']:g}",
                ]
            )
    return rows


def speed_table(works, peers):
    head = ["workload", "Percept", *peers, "ratio to the fastest", "spread", "bar", "share of peak", "busy"]
    return per_machine(lambda entries, _: table(head, speed_rows(works, peers, entries)))


def features_table(entries, _machine):
    """As [`speed_table`], with a row for each batch: images a second for both."""
    peers = ["PyTorch", "torch.compile", "ONNX Runtime", "OpenVINO"]
    rows = speed_rows(FEATURES, peers, entries)
    found = [work for work in FEATURES if key_of(work) in entries]
    rows = [[str(work.batch), *row[1:]] for work, row in zip(found, rows)]
    head = ["images at a time", "Percept", *peers, "ratio to the fastest", "spread", "bar", "share of peak", "busy"]
    return table(head, rows)


def name_of(work):
    return work.name + (" bf16" if work.precision == "bf16" else "")


def memory_table(entries, _machine):
    rows = []
    for work in MEMORY:
        entry = entries.get(key_of(work))
        if not entry:
            continue
        sides = {name: [turn["megabytes"] for turn in side["turns"]] for name, side in entry["sides"].items()}
        peers = {name: statistics.median(values) for name, values in sides.items() if family(name) == "PyTorch"}
        best = min(peers, key=peers.get, default=None)
        cells = [number(statistics.median(sides["Percept"])) if "Percept" in sides else "not measured"]
        if best is None or "Percept" not in sides:
            rows.append([name_of(work), *cells, "not measured", "", "", "", bar_cell(work.bar, None)])
            continue
        files = statistics.median(turn["of_files"] for turn in entry["sides"][best]["turns"])
        each = [ours / theirs for ours, theirs in zip(sides["Percept"], sides[best])]
        share = statistics.median(sides["Percept"]) / peers[best]
        cells += [f"{number(peers[best])} {best.partition(', ')[2]}", number(files), f"**{share:.2f}**"]
        cells += [f"{min(each):.2f} to {max(each):.2f}", bar_cell(work.bar, share <= work.bar)]
        rows.append([name_of(work), *cells])
    head = ["training", "Percept, MB", "PyTorch, MB", "of which pages of its libraries", "share", "spread", "bar"]
    return table(head, rows)


def growth_tables(entries, _machine):
    lines = []
    for train, infer in zip(GROWTH[::2], GROWTH[1::2]):
        found = [entries.get(key_of(growth)) for growth in (train, infer)]
        if not all(found):
            continue
        head = [train.title]
        for mode in ("training", "inference"):
            head += [f"{mode}, images/s", "times the first", "share of peak"]
        sizes = sorted(found[0]["sides"].keys() & found[1]["sides"].keys(), key=int)
        rows = [[size, *(cell for entry in found for cell in growth_cells(entry, size, sizes[0]))] for size in sizes]
        lines += [*table(head, rows), ""]
    return lines[:-1]


def growth_cells(entry, size, first):
    rate, least = (growth_rate(entry["sides"][one]) for one in (size, first))
    share = 1e-7 * rate * entry["sides"][size]["flops_per_image"] / entry["peaks"][size]
    return [number(rate), f"{rate / least:.2f}", f"{share:.0f} %"]


def growth_rate(side):
    return statistics.median(1e3 * side["batch"] / turn["mean"] for turn in side["turns"])


def machine_lines(everything):
    return [line for found in everything for line in describe(found["machine"], found["entries"].values())] or NOTHING


def describe(machine, entries):
    """A machine, what ran on it, and when."""
    isas, versions = what_ran(entries)
    dates = sorted(entry["date"] for entry in entries)
    threads = {str(entry["threads"]) for entry in entries if "threads" in entry}
    peaks = [entry["peak"] for entry in entries if "peak" in entry]
    days = " to ".join(dict.fromkeys([dates[0], dates[-1]]))
    features = " ".join(machine["features"])
    lines = [f"- **{machine['processor']}**, {machine['cores']} cores, {features}; {machine['system']}; {days}."]
    if threads:
        lines.append(f"  {' and '.join(sorted(threads))} threads; Percept's kernels: {', '.join(sorted(isas))}.")
    lines.append(f"  Percept at {', '.join(sorted({entry['percept'] for entry in entries}))}; {', '.join(versions)}.")
    if peaks:
        spread = f"{min(peaks):.0f} to {max(peaks):.0f} over the sessions"
        lines.append(f"  Peak of f32 multiply-adds, all threads: {statistics.median(peaks):.0f} GFLOP/s ({spread}).")
    return lines


def what_ran(entries):
    """Percept's instruction sets, and the peers with their versions."""
    isas, versions = set(), set()
    for entry in entries:
        for name, side in entry.get("sides", {}).items():
            isas |= {side["isa"]} if "isa" in side else set()
            versions |= {f"{family(name)} {side['version']}"} if "version" in side else set()
    return isas, sorted(version for version in versions if not version.startswith("torch.compile"))


def decoding_table(entries, _machine):
    entry = entries.get("decoding")
    if not entry or not {"Percept", "torchvision"} <= entry["sides"].keys():
        return []
    rates = {
        name: [1e3 * side["batch"] / turn["mean"] for turn in side["turns"]] for name, side in entry["sides"].items()
    }
    ours, theirs = (statistics.median(rates[name]) for name in ("Percept", "torchvision"))
    each = [our / their for our, their in zip(rates["Percept"], rates["torchvision"])]
    head = ["photographs", "Percept", "torchvision", "ratio", "spread", "bar", "pixels apart", "busy"]
    row = [
        str(entry["sides"]["Percept"]["batch"]),
        number(ours),
        number(theirs),
        f"**{ours / theirs:.2f}**",
        f"{min(each):.2f} to {max(each):.2f}",
        bar_cell(DECODING, ours / theirs >= DECODING),
        f"{entry['difference']:.2f} levels",
        "" if entry["load"] is None else f"{entry['load']:g}",
    ]
    return table(head, [row])


def serving_table(entries, _machine):
    lines = []
    for name, bar in SERVING.items():
        entry = entries.get(f"serving {name}")
        if not entry:
            continue
        sides = entry["sides"]
        rates = {side: median_of(turns["saturated"], lambda turn: turn["answers_per_second"]) for side, turns in sides.items()}
        late = {
            side: median_of(turns["half"], lambda turn: turn["answered"]["p99"]) for side, turns in sides.items() if turns["half"]
        }
        ours, best = rates["Percept"], max((rate for side, rate in rates.items() if side != "Percept"), default=None)
        head = [name, "answers/s", "ratio", "client's share", f"p99 at {number(entry['rate'])}/s", "ratio", "memory of its first process"]
        rows = []
        for side, turns in sides.items():
            ratio, tail = f"{ours / rates[side]:.2f}", f"{late['Percept'] / late[side]:.2f}" if side in late else ""
            if rates[side] == best:
                ratio = f"**{ratio}** ({bar_cell(bar, ours / best >= bar)})"
            if side in late and rates[side] == best:
                tail = f"**{tail}** ({bar_cell(SERVING_P99, late['Percept'] <= SERVING_P99 * late[side])})"
            share = median_of(turns["saturated"], lambda turn: turn["client_processor"])
            own = side == "Percept"
            rows.append([
                side, number(rates[side]), "" if own else ratio, f"{100 * share:.0f} %",
                f"{late[side]:.1f} ms" if side in late else "", "" if own else tail, f"{turns['memory']:.0f} MB",
            ])  # fmt: skip
        overload, idle = entry["overload"], SERVING_IDLE.get(name)
        good = overload["turn"]["answers_per_second"] / overload["peak"]
        refused = overload["turn"]["refused"]["longest"]
        small, large = overload["memory"]
        lines += [*table(head, rows), ""]
        lines.append(f"- twice the load: {100 * good:.0f} % of the peak is answered ({bar_cell(SERVING_GOODPUT, good >= SERVING_GOODPUT)}).")
        if refused is not None:
            count = overload["turn"]["counts"].get("503", 0)
            verdict = bar_cell(SERVING_REFUSAL, refused <= SERVING_REFUSAL)
            lines.append(f"- {count:,} refusals, the last of them within {refused:.0f} ms ({verdict}); memory {small:.0f}, then {large:.0f} MB.")
        lines.append(f"- from start to ready: {entry['start']:.0f} ms ({bar_cell(SERVING_START, entry['start'] < SERVING_START)}).")
        verdict = f" ({bar_cell(idle, entry['idle'] < idle)})" if idle else ""
        lines += [f"- a single request on an idle server: {entry['idle']:.2f} ms at the median{verdict}.", ""]
    return lines[:-1]


def median_of(turns, value):
    return statistics.median(value(turn) for turn in turns)


def cifar_table(entries, machine):
    precision = "bf16" if results.has_bf16(set(machine["features"])) else "f32"
    found = [entry for key, entry in entries.items() if key.startswith("cifar10")]
    found.sort(key=lambda entry: (entry["within"], entry["peer"]))
    head = ["within", "command", "test accuracy, mean (each seed)", "longest wall clock", "bar"]
    return table(head, [cifar_row(entry, precision) for entry in found])


def cifar_row(entry, precision):
    accuracies = [100 * run["top1"] for run in entry["runs"]]
    mean, wall = statistics.mean(accuracies), max(run["seconds"] for run in entry["runs"])
    late = wall > entry["within"]
    bar = None if entry["peer"] else CIFAR10.get(entry["within"], {}).get(precision)
    return [
        f"{entry['within']:g} s",
        f"`{entry['command']}`",
        f"**{mean:.2f} %** ({', '.join(f'{accuracy:.1f}' for accuracy in accuracies)})",
        f"{wall:.1f} s" + (" **too late**" if late else ""),
        "" if bar is None else bar_cell(bar, mean >= bar and not late),
    ]


def missing_lines(everything):
    lines = []
    for found in everything:
        name, features = found["machine"]["processor"], set(found["machine"]["features"])
        if not results.has_bf16(features):
            lines.append(f"- {name}: the rows in bf16, since the processor has no instructions for it.")
        if "avx512f" not in features:
            lines.append(f"- {name}: the AVX-512 kernels, which the processor cannot run.")
        if "amx_bf16" not in features:
            lines.append(f"- {name}: products of whole tiles in bf16 (AMX), which the processor cannot run.")
        for (side, reason), keys in failures(found["entries"]).items():
            needs = f"; needs {INSTALL[side]}" if side in INSTALL else ""
            lines.append(f"- {name}: {side} in {', '.join(sorted(keys))}: {reason}{needs}.")
    return lines or ["Nothing."]


def failures(entries):
    """The entries in which a side failed, by side and reason."""
    found = {}
    for key, entry in entries.items():
        for side, reason in entry.get("failures", {}).items():
            found.setdefault((family(side), reason.rstrip(".")), set()).add(key)
    return found


PARTS = {
    "machines": machine_lines,
    "training": speed_table(TRAINING, ["PyTorch", "torch.compile", "Burn"]),
    "latency": speed_table(
        [work for work in INFERENCE if work.batch == 1],
        ["PyTorch", "torch.compile", "ONNX Runtime", "OpenVINO", "Burn"],
    ),
    "throughput": speed_table(
        [work for work in INFERENCE if work.batch > 1], ["PyTorch", "torch.compile", "ONNX Runtime", "OpenVINO", "Burn"]
    ),
    "features": per_machine(features_table),
    "memory": per_machine(memory_table),
    "growth": per_machine(growth_tables),
    "decoding": per_machine(decoding_table),
    "serving": per_machine(serving_table),
    "cifar10": per_machine(cifar_table),
    "missing": missing_lines,
}
