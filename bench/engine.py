"""The engine's benchmark (bench/README.md): training steps and generation of this project, and with the peers of .cache/peers,
which bench/peers/install.sh puts there. Programs take turns, so that a machine's good and bad minutes fall on all of them alike."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(__file__))
import report  # noqa: E402

BIN = os.environ.get("QZO_BIN_DIR", "build/release/bin")
PEERS = os.environ.get("QZO_BENCH_PEERS", ".cache/peers")
SMS = ["--data", "examples/sms_spam/train.jsonl", "--prompt", "Message: {text}\nIs this spam? Answer:"]
# Share of the peak rate of its multiply-add that a product with scales per 32 values can reach: the other instructions of a
# block take the same units (int16: 16 dot products of 20 instructions; int8: 8 of 12).
MIX = {"int16": 16 / 20, "int8": 8 / 12, "fp32": 1.0}


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


def make_peers(model: str, directory: str) -> dict[str, Peer]:
    python = f"{PEERS}/venv/bin/python"
    if not os.path.exists(python):
        return {}
    llama = "bench/peers/llamacpp.py"
    converted = {kind: f"{directory}/{kind}.gguf" for kind in ("Q4_0", "F32")}
    for kind, path in converted.items():
        subprocess.run([python, llama, model, "convert", kind, path], check=True)
    return {
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
    rounds, seconds, tokens = (1, 0, 32) if arguments.quick else (5, 2, 128)
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
            for figure in ("tokens_per_s", "step_s", "gflop_per_s", "share_of_peak"):
                if figure in result:
                    add(f"{figure}_{arithmetic}_{threads}", result[figure])
        for arithmetic in ("int16",) if arguments.quick else ("int16", "int8", "fp32"):
            add(f"sms_step_s_{arithmetic}", step(model, arithmetic, 2, seconds, *SMS)["step_s"])
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
        if f"share_of_peak_{arithmetic}_2" in middle:
            share = middle[f"share_of_peak_{arithmetic}_2"] / MIX[arithmetic]
            best = middle[f"peak_{arithmetic}_2"] * 1e-9
            metrics.append((f"fraction_of_limit{suffix}", share, f"of {MIX[arithmetic]:.2f} x the peak around it, at best {best:,.0f} Gop/s"))
        if f"sms_step_s_{arithmetic}" in middle:
            metrics.append((f"sms_step_s{suffix}", middle[f"sms_step_s_{arithmetic}"], f"s, {arithmetic}; one probe, 16 messages"))
            metrics.append((f"generation_tokens_per_s{suffix}", middle[f"generation_{arithmetic}"], f"{arithmetic}, 2 threads"))
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
    command = f"QZO_BENCH_MODEL={model} {BIN}/qzo_engine_bench --model {model} --arithmetic int16 --threads 2"
    report.report("engine", [command], metrics, arguments.json)


main()
