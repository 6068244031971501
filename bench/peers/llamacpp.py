"""llama.cpp as a peer of the engine: for each line on standard input, one run; prints its seconds.

  llamacpp.py MODEL.gguf THREADS prompts SEQUENCES TOKENS    reads that many prompts at once, logits for each one's last token
  llamacpp.py MODEL.gguf THREADS text TOKENS                 writes greedily that many tokens after a short prompt
  llamacpp.py MODEL.gguf convert TYPE DESTINATION            writes the model in another type (of llama.cpp's names: Q4_0, …)
"""
import ctypes
import sys
import time

import llama_cpp as ll


def convert(path: str, kind: str, destination: str) -> None:
    settings = ll.llama_model_quantize_default_params()
    settings.ftype = {"Q4_0": ll.LLAMA_FTYPE_MOSTLY_Q4_0, "Q8_0": ll.LLAMA_FTYPE_MOSTLY_Q8_0, "F32": ll.LLAMA_FTYPE_ALL_F32}[kind]
    settings.allow_requantize = True
    if ll.llama_model_quantize(path.encode(), destination.encode(), ctypes.byref(settings)) != 0:
        sys.exit(f"{path}: llama.cpp cannot write it as {kind}")


def main() -> None:
    quiet = ll.llama_log_callback(lambda level, text, user: None)
    ll.llama_log_set(quiet, ctypes.c_void_p(0))
    path, second = sys.argv[1], sys.argv[2]
    if second == "convert":
        return convert(path, sys.argv[3], sys.argv[4])
    threads, mode = int(second), sys.argv[3]
    sequences, tokens = (int(sys.argv[4]), int(sys.argv[5])) if mode == "prompts" else (1, int(sys.argv[4]))
    model = ll.llama_model_load_from_file(path.encode(), ll.llama_model_default_params())
    vocabulary = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
    settings = ll.llama_context_default_params()
    settings.n_ctx = max(256, sequences * tokens + 32)
    settings.n_batch = settings.n_ubatch = settings.n_ctx
    settings.n_seq_max = sequences
    settings.kv_unified = True
    settings.n_threads = settings.n_threads_batch = threads
    context = ll.llama_init_from_model(model, settings)
    batch = ll.llama_batch_init(sequences * tokens, 0, 1)

    def put(at: int, token: int, position: int, sequence: int, logits: bool) -> None:
        batch.token[at], batch.pos[at], batch.logits[at] = token, position, logits
        batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
        batch.n_tokens = at + 1

    def decode() -> None:
        if ll.llama_decode(context, batch) != 0:
            sys.exit("llama_decode failed")

    for _ in sys.stdin:
        ll.llama_memory_clear(ll.llama_get_memory(context), True)
        if mode == "prompts":
            for i in range(sequences * tokens):
                put(i, (7919 * i + 17) % vocabulary, i % tokens, i // tokens, i % tokens == tokens - 1)
            begin = time.perf_counter()
            decode()
            ll.llama_get_logits_ith(context, sequences * tokens - 1)
        else:
            for i in range(8):
                put(i, 100 + i, i, 0, i == 7)
            decode()
            begin = time.perf_counter()
            for i in range(tokens):
                put(0, 100 + i, 8 + i, 0, True)  # any token takes as long
                decode()
                ll.llama_synchronize(context)
        print(time.perf_counter() - begin, flush=True)


main()
