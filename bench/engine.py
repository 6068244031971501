"""The engine's benchmark (bench/README.md): training steps and generation of this project, and with the peers of .cache/peers,
which bench/peers/install.sh puts there. Programs take turns, so that a machine's good and bad minutes fall on all of them alike."""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(__file__))
import report  # noqa: E402

BIN = os.environ.get("QZO_BIN_DIR", "build/release/bin")
PEERS = os.environ.get("QZO_BENCH_PEERS", ".cache/peers")
SMS = ["--data", "examples/sms_spam/train.jsonl", "--prompt", "Message: {text}\nIs this spam? Answer:"]
SST2 = os.environ.get("QZO_BENCH_SST2")  # JSON Lines with "sentence" and "label": its licence keeps it out of this project
BATCHES = {"": [], "sms": SMS}
if SST2:
    BATCHES["sst2"] = ["--data", SST2, "--prompt", "{sentence} It was", "--options", " terrible, great"]
TINY = ["--model", "tests/golden/models/stories260k/stories260K-Q4_1.gguf", "--options", " a, b", "--seconds", "0", "--batch", "4",
        "--tokens", "16"]


class Peer:
    """A program that measures once for each line it is sent, and says how many seconds it took."""

    def __init__(self, *arguments: str):
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self) -> float:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"engine: {' '.join(self.process.args)} ended")
        return float(line)

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def program(name: str, *arguments: str) -> str:
    return subprocess.run([f"{BIN}/{name}", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def step(model: str, arithmetic: str, threads: int, seconds: float, *more: str) -> dict:
    arguments = ["--model", model, "--arithmetic", arithmetic, "--threads", str(threads), "--seconds", str(seconds), *more]
    return json.loads(program("qzo_engine_bench", *arguments))


def generation(model: str, tokens: int, threads: int, arithmetic: str) -> float:
    return float(program("qzo_generation_bench", model, str(tokens), str(threads), arithmetic))


def shapes() -> dict[str, float]:
    """Giga-operations per second of each product alone, one thread, 1,024 rows under two lanes: of the fastest variant."""
    found = {}
    pattern = "/matmul/Q4_1/channel/.*/M:1024/"
    output = program("qzo_kernels_bench", f"--benchmark_filter={pattern}", "--benchmark_min_time=0.1", "--benchmark_format=json")
    for row in json.loads(output)["benchmarks"]:
        _, _, _, _, arithmetic, _, n, k = row["name"].split("/")
        name = f"gop_per_s_{arithmetic}_{n[2:]}x{k[2:]}"
        found[name] = max(found.get(name, 0), row["flop/s"] * 1e-9)
    return found


def instructions(arithmetic: str) -> float | None:
    """Of a step with AVX2 kernels on a tiny model, by callgrind: the same on every machine and in every minute."""
    if not shutil.which("valgrind"):
        return None
    counts = []
    for steps in (4, 14):
        command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"{BIN}/qzo_engine_bench", *TINY,
                   "--arithmetic", arithmetic, "--kernels", "avx2", "--steps", str(steps)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        counts.append(int(re.search(r"Collected : (\d+)", output)[1]))
    return (counts[1] - counts[0]) / 10


def make_peers(model: str, directory: str) -> dict[str, Peer]:
    python = f"{PEERS}/venv/bin/python"
    if not os.path.exists(python):
        return {}
    batches = {}
    for name, settings in BATCHES.items():
        batches[name] = f"{directory}/batch{name}.json"
        program("qzo_engine_bench", "--model", model, *settings, "--write-batch", batches[name])
    torch = {
        f"torch_{style}{'_' if name else ''}{name}": Peer(python, "bench/peers/pytorch.py", model, "2", style, batch)
        for style in ("published", "careful") for name, batch in batches.items()
    }
    llama = "bench/peers/llamacpp.py"
    converted = {kind: f"{directory}/{kind}.gguf" for kind in ("Q4_0", "F32")}
    for kind, path in converted.items():
        subprocess.run([python, llama, model, "convert", kind, path], check=True)
    return torch | {
        "llamacpp_same_file": Peer(python, llama, model, "2", "prompts", "16", "64"),
        "llamacpp_q4_0": Peer(python, llama, converted["Q4_0"], "2", "prompts", "16", "64"),
        "llamacpp_f32": Peer(python, llama, converted["F32"], "2", "prompts", "16", "64"),
        "llamacpp_text": Peer(python, llama, model, "2", "text", "64"),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="no peers, few steps")
    parser.add_argument("--json", default=None)
    arguments = parser.parse_args()
    model = os.environ.get("QZO_BENCH_MODEL")
    if not model:
        model = subprocess.check_output(["scripts/get-model.sh", ".cache/models"], text=True).strip()
    rounds, seconds, tokens = (1, 0.5, 32) if arguments.quick else (5, 2, 128)
    directory = tempfile.TemporaryDirectory()
    peers = {} if arguments.quick else make_peers(model, directory.name)

    values: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        values.setdefault(name, []).append(value)

    last: dict[str, dict] = {}
    for peer in peers.values():
        peer.seconds()  # the first run pays for page faults and buffers
    for _ in range(rounds):
        for threads in (1, 2):
            peaks = json.loads(program("qzo_peak_bench", str(threads)))
            for name, rate in peaks.items():
                add(f"peak_{name}_{threads}", rate)
        cases = [("int16", 1), ("int16", 2), ("int8", 2), ("fp32", 2)]
        for arithmetic, threads in cases if arguments.quick else cases + [("int8", 1), ("fp32", 1)]:
            result = last[f"{arithmetic}_{threads}"] = step(model, arithmetic, threads, seconds)
            for figure in ("tokens_per_s", "step_s", "gflop_per_s", "fraction_of_limit"):
                if figure in result:
                    add(f"{figure}_{arithmetic}_{threads}", result[figure])
        for arithmetic in ("int16",) if arguments.quick else ("int16", "int8", "fp32"):
            for name, settings in BATCHES.items():
                if name:
                    add(f"{name}_step_s_{arithmetic}", step(model, arithmetic, 2, seconds, *settings)["step_s"])
            add(f"generation_{arithmetic}", generation(model, tokens, 2, arithmetic))
        for name, peer in peers.items():
            add(name, peer.seconds())
    for peer in peers.values():
        peer.end()

    middle = {name: statistics.median(found) for name, found in values.items()}
    metrics: list[tuple[str, float, str]] = []
    for arithmetic in ("int16", "int8", "fp32"):
        suffix = "" if arithmetic == "int16" else f"_{arithmetic}"
        name = f"{arithmetic}, 2 threads; 16 rows of 64 tokens, 2 lanes"
        metrics.append((f"tokens_per_s{suffix}", middle[f"tokens_per_s_{arithmetic}_2"], f"token rows, {name}"))
        metrics.append((f"step_s{suffix}", middle[f"step_s_{arithmetic}_2"], f"s, {name}"))
        if f"step_s_{arithmetic}_1" in middle:
            speedup = middle[f"tokens_per_s_{arithmetic}_2"] / middle[f"tokens_per_s_{arithmetic}_1"]
            metrics.append((f"two_threads_over_one{suffix}", speedup, arithmetic))
        if f"fraction_of_limit_{arithmetic}_2" in middle:
            best = middle[f"peak_{arithmetic}_2"] * 1e-9
            metrics.append((f"fraction_of_limit{suffix}", middle[f"fraction_of_limit_{arithmetic}_2"],
                            f"of what the peak around it allows, at best {best:,.0f} Gop/s"))
        for name in BATCHES:
            if f"{name}_step_s_{arithmetic}" in middle:
                metrics.append((f"{name}_step_s{suffix}", middle[f"{name}_step_s_{arithmetic}"], f"s, {arithmetic}; one probe, 16 rows"))
        if f"generation_{arithmetic}" in middle:
            metrics.append((f"generation_tokens_per_s{suffix}", middle[f"generation_{arithmetic}"], f"{arithmetic}, 2 threads"))
        if not arguments.quick and (count := instructions(arithmetic)) is not None:
            metrics.append((f"instructions_per_step{suffix}", count, f"{arithmetic}, AVX2, tiny model, callgrind"))
    if not arguments.quick:
        metrics += [(name, rate, "Gop/s of the product alone, 1 thread") for name, rate in shapes().items()]
    metrics.append(("read_bytes_per_s", middle["peak_read_bytes_per_s_2"], "of memory, 2 threads"))
    result = last["int16_2"]
    metrics.append(("allocations_per_step", result["allocations_per_step"], "of the heap, in a steady state"))
    metrics.append(("peak_rss_bytes", result["peak_rss_bytes"], "of the engine's process, mapped model included"))
    metrics.append(("peak_rss_ratio", result["peak_rss_bytes"] / result["planned_bytes"], "of that to what `qzoctl plan` predicts"))
    if peers:
        prompts = 16 * 64  # tokens of a run of the peer; ours read twice as many in a step
        best = min(middle["llamacpp_same_file"], middle["llamacpp_q4_0"], middle["llamacpp_f32"])
        for arithmetic in ("int16", "int8"):
            suffix = "" if arithmetic == "int16" else f"_{arithmetic}"
            speed = middle[f"tokens_per_s_{arithmetic}_2"]
            metrics += [
                (f"ratio_llamacpp_same_file{suffix}", speed * middle["llamacpp_same_file"] / prompts, f"{arithmetic} to prompt processing"),
                (f"ratio_llamacpp_best{suffix}", speed * best / prompts, "the same, its fastest of Q4_1, Q4_0 and F32"),
                (f"ratio_llamacpp_generation{suffix}", middle[f"generation_{arithmetic}"] * middle["llamacpp_text"] / 64, ""),
            ]
        for name in BATCHES:
            for arithmetic in ("int16", "int8"):
                suffix = ("_" + name if name else "") + ("" if arithmetic == "int16" else f"_{arithmetic}")
                ours = middle[f"{name}_step_s_{arithmetic}" if name else f"step_s_{arithmetic}_2"]
                end = f"_{name}" if name else ""
                for ratio, style in (("published", "published"), ("best", "careful")):
                    metrics.append((f"ratio_torch_{ratio}{suffix}", middle[f"torch_{style}{end}"] / ours, f"{arithmetic}, step to step"))
    command = f"QZO_BENCH_MODEL={model} {BIN}/qzo_engine_bench --model {model} --arithmetic int16 --threads 2"
    report.report("engine", [command], metrics, arguments.json)


main()
