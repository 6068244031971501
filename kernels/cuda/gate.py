#!/usr/bin/env python3
"""Holds the machine code of the CUDA kernels to kernels/cuda/budget.json; needs no GPU.

usage: gate.py CUOBJDUMP LIBRARY BUDGET

For every kernel and architecture: at most the given registers per thread; at least the given number of blocks on a
multiprocessor; at least the given count of each required instruction; no thread-local memory, or at most `local` bytes
of it, and then none between the tensor-core instructions. Every kernel has a budget and every budget a kernel.
"""
import json
import re
import subprocess
import sys

# CUDA C++ Programming Guide, "Technical Specifications per Compute Capability": shared memory of a multiprocessor in
# KiB. All have 65536 registers and room for 2048 threads and 32 blocks; a block's shared memory costs 1 KiB more.
SHARED_KIB = {80: 164, 90: 228, 100: 228}


def dump(tool, option, library):
    return subprocess.run([tool, option, library], capture_output=True, text=True, check=True).stdout


def plain_name(mangled):
    """_ZN3qzo7kernels4cuda12MatMulKernelILNS1_5CodesE0ELNS1_6ScalesE3EEEv… -> MatMulKernel<0, 3>"""
    found = re.match(r"_ZN3qzo7kernels4cuda\d+(\w+?Kernel)(I.*?EEv)?", mangled)
    if not found:
        return mangled
    arguments = re.findall(r"L(?:i|NS1_\d+[A-Za-z]+E)(\d+)E", found[2] or "")
    return found[1] + (f"<{', '.join(arguments)}>" if arguments else "")


def resources(text):
    """{(architecture, kernel): {"REG": …, "STACK": …}}"""
    found, architecture, kernel = {}, 0, ""
    for line in text.splitlines():
        if match := re.match(r"arch = sm_(\d+)", line.strip()):
            architecture = int(match[1])
        elif match := re.match(r"\s*Function (\S+?):", line):
            kernel = plain_name(match[1])
        elif "REG:" in line:
            found[architecture, kernel] = {k: int(v) for k, v in re.findall(r"(REG|STACK|SHARED):(\d+)", line)}
    return found


def opcodes(text):
    """{(architecture, kernel): [opcode, …]} in the order of the code"""
    found, architecture, kernel = {}, 0, ""
    for line in text.splitlines():
        if match := re.search(r"arch = sm_(\d+)", line):
            architecture = int(match[1])
        elif match := re.search(r"Function : (\S+)", line):
            kernel = plain_name(match[1])
            found[architecture, kernel] = []
        elif match := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*)", line):
            found[architecture, kernel].append(match[1])
    return found


def blocks(architecture, registers, shared, threads):
    per_warp = -(-registers * 32 // 256) * 256
    warps = -(-threads // 32)
    return min(65536 // (per_warp * warps), 2048 // threads, 32, SHARED_KIB[architecture] * 1024 // (shared + 1024))


def problems(architecture, used, code, budget):
    registers, local = used["REG"], used["STACK"]
    if registers > budget["registers"]:
        yield f"{registers} registers, at most {budget['registers']}"
    resident = blocks(architecture, registers, budget.get("shared", 0), budget["threads"])
    if resident < budget["blocks"]:
        yield f"{resident} blocks on a multiprocessor, at least {budget['blocks']}"
    if local > budget.get("local", 0):
        yield f"{local} bytes of local memory, at most {budget.get('local', 0)}"
    for opcode, least in budget.get("require", {}).items():
        if code.count(opcode) < least:
            yield f"{code.count(opcode)} {opcode}, at least {least}"
    if "HMMA" in code:
        products = code[code.index("HMMA") : len(code) - code[::-1].index("HMMA")]
        if spilled := sum(opcode in ("LDL", "STL") for opcode in products):
            yield f"{spilled} accesses of local memory among the tensor-core instructions"


def main():
    tool, library, budget_file = sys.argv[1:]
    with open(budget_file, encoding="utf-8") as file:
        budgets = json.load(file)
    used = resources(dump(tool, "-res-usage", library))
    code = opcodes(dump(tool, "-sass", library))
    failed = 0
    for (architecture, kernel), numbers in sorted(used.items()):
        budget = budgets.get(kernel)
        wrong = ["no budget"] if budget is None else list(problems(architecture, numbers, code[architecture, kernel], budget))
        count = len(code.get((architecture, kernel), []))
        print(f"{'FAIL' if wrong else 'ok  '} sm_{architecture} {kernel}: {numbers['REG']} registers, "
              f"{numbers['STACK']} bytes local, {count} instructions" + "".join(f"; {what}" for what in wrong))
        failed += bool(wrong)
    for architecture in SHARED_KIB:
        for kernel in budgets:
            if (architecture, kernel) not in used:
                print(f"FAIL sm_{architecture} {kernel}: not in {library}")
                failed += 1
    sys.exit(1 if failed else 0)


main()
