#!/usr/bin/env python3
"""Compares our tokenizers with PyPI's tokenizers and sentencepiece, id by id, on varied texts.

  compare.py TOKENIZE [--texts N] [--seed S] [--only NAME] [--gguf FILE.gguf] ...

TOKENIZE is the program tests/tokenizers/tokenize_main.cc. Tokenizers are trained here, one for every component of
tokenizer.json that is supported; --gguf adds byte-level BPE files, which are made into tokenizer.json for the reference.
Texts of invalid UTF-8, which the references do not take, must only come back as they were where the vocabulary has all bytes.
"""

import argparse
import base64
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

import gguf
import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz", "ETAOINSHRDLU", "0123456789", ".,;:!?'\"()[]{}<>|/\\@#$%^&*-_=+~`",
    "áàâäãåæçéèêëíñóöøßœşžþ", "абвгдежзиклмнопрст", "αβγδεζηθικλμνξ", "אבגדהוזחטי", "ابتثجحخدذرز", "अआइईउऊकखगघ" + "\u093e\u093f\u094d",
    "กขคงจฉชซ" + "\u0e31\u0e34", "一二三四五六七八九十我想在工作", "あいうえおカキクケコ", "가나다라마바사", "ᏣᎳᎩ", "ქართული", "հայերեն", "ខ្មែរ",
    "①½٣४Ⅷ²", "ﬁﬂＡＢ１㍿Å", "e\u0301o\u0308a\u030a\u0327", "😀🏽🚀👩\u200d👩\u200d👧🇫🇷☃️", "\u200b\u200c\u200d\u2060\ufeff",
    "\x00\x01\x02\x07\x08\x0b\x0c\x1b\x1f\x7f\x85\xad", "\t\n\r \u00a0\u2003\u3000\u2028", "▁Ġ\u2581", "𝒜𝓑𐐀𠀀",
]  # fmt: skip
WORDS = (
    "the quick brown fox jumps over lazy dogs while I'm counting 12 345 things; don't you'll we've SHE'S "
    "naïve café Ünïcode Привет мир Γειά σου 你好世界 こんにちは 안녕하세요 नमस्ते สวัสดี مرحبا שלום http://example.org/a?b=c "
    "def f(x): return x**2 + 1.5e-3 </s> <|end|> <tool> [MASK] camelCaseHTTPServer snake_case_name --flag"
).split()

# The programs know different versions of Unicode, so these are characters that have long been what they are.
OLD_CHARACTERS = [
    chr(code)
    for code in range(0x3000)
    if unicodedata.ucd_3_2_0.category(chr(code)) == unicodedata.category(chr(code)) != "Cn"
]


def varied_texts(count: int, rng: random.Random) -> list[str]:
    """Texts of one script, of all, of words with odd white space, and runs."""
    texts = ["", " ", "  ", "\n", "a", " a", "a ", "  a  b ", "\u2581a", "I'LL we've", "<|end|>", " <|end|> x", "a<tool>b"]
    while len(texts) < count:
        kind = rng.randrange(6)
        if kind == 0:
            alphabet = rng.choice(ALPHABETS)
            text = "".join(rng.choice(alphabet + "  ") for _ in range(rng.randrange(1, 40)))
        elif kind == 1:
            text = "".join(rng.choice(rng.choice(ALPHABETS)) for _ in range(rng.randrange(1, 60)))
        elif kind == 2:
            text = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 30)))
        elif kind == 3:
            blanks = [" ", "  ", "\n", "\n\n", "\t", " \n ", "", "\u00a0", "   "]
            text = "".join(rng.choice(WORDS) + rng.choice(blanks) for _ in range(rng.randrange(1, 20)))
        elif kind == 4:
            text = rng.choice(rng.choice(ALPHABETS)) * rng.randrange(1, 100) + rng.choice(WORDS)
        else:
            text = "".join(rng.choice(OLD_CHARACTERS) for _ in range(rng.randrange(1, 25)))
        texts.append("".join(c for c in text if not 0xD800 <= ord(c) < 0xE000))
    return texts


def invalid_texts(count: int, rng: random.Random) -> list[bytes]:
    words = [word for word in WORDS if word != "<tool>"]  # which takes white space along
    texts = []
    while len(texts) < count:
        text = bytearray(" ".join(rng.choice(words) for _ in range(rng.randrange(1, 6))).encode())
        for _ in range(rng.randrange(1, 5)):
            text.insert(rng.randrange(len(text) + 1), rng.choice([0x80, 0xBF, 0xC0, 0xE2, 0xED, 0xF0, 0xF8, 0xFF]))
        texts.append(bytes(text))
    return texts


def corpus(rng: random.Random) -> list[str]:
    return [" ".join(rng.choice(WORDS) for _ in range(20)) for _ in range(300)] + [" ".join(ALPHABETS)] * 3


def added_tokens(normalized: bool = False) -> list[AddedToken]:
    return [
        AddedToken("<|end|>", special=True, normalized=False),
        AddedToken("<tool>", lstrip=True, rstrip=True, normalized=False),
        AddedToken("Fox" if normalized else "dogs", single_word=True, normalized=normalized),
    ]


def train_bpe(texts, pre, normalizer=None, bytes_=True, normalized=False, **options) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.BPE(**options))
    made.pre_tokenizer = pre
    if normalizer is not None:
        made.normalizer = normalizer
    special = ["<unk>"] if "unk_token" in options else []
    special += [f"<0x{byte:02X}>" for byte in range(256)] if options.get("byte_fallback") else []
    alphabet = pre_tokenizers.ByteLevel.alphabet() if bytes_ else []
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=1200, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    if options.get("byte_fallback"):  # as special tokens they would be found in texts
        state = json.loads(made.to_str())
        state["added_tokens"] = [token for token in state["added_tokens"] if not token["content"].startswith("<0x")]
        made = tokenizers.Tokenizer.from_str(json.dumps(state))
    made.add_tokens(added_tokens(normalized))
    return made


def exact(score: float) -> float:
    """The score as a multiple of 1/256: sums are exact then, and two ways to cut a word tie for everybody or nobody."""
    return round(score * 256) / 256


def train_unigram(texts, normalizer, pre, byte_fallback=False) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.Unigram())
    made.normalizer = normalizer
    made.pre_tokenizer = pre
    made.decoder = decoders.Metaspace()
    made.train_from_iterator(
        texts,
        trainers.UnigramTrainer(vocab_size=900, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False),
    )
    state = json.loads(made.to_str())
    state["model"]["vocab"] = [[piece, exact(score)] for piece, score in state["model"]["vocab"]]
    if byte_fallback:
        state["model"]["vocab"] += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
        state["model"]["byte_fallback"] = True
    made = tokenizers.Tokenizer.from_str(json.dumps(state))
    made.add_tokens(added_tokens())
    return made


def trained(rng: random.Random) -> dict[str, tokenizers.Tokenizer]:
    texts = corpus(rng)
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    def split(pattern: str, behavior: str, invert: bool = False):
        return pre_tokenizers.Split(Regex(pattern), behavior, invert)

    pre = {
        "byte_level": pre_tokenizers.ByteLevel(add_prefix_space=False),
        "byte_level_prefix": pre_tokenizers.ByteLevel(add_prefix_space=True),
        "gpt4": pre_tokenizers.Sequence([split(GPT4, "isolated"), letters]),
        "digits": pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)]),
        "digits_together": pre_tokenizers.Sequence([pre_tokenizers.Digits(False), pre_tokenizers.ByteLevel(False)]),
        "punctuation": pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), letters]),
        "falcon": pre_tokenizers.Sequence([
            pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(False), pre_tokenizers.Digits(False),
            split("[0-9][0-9][0-9]", "isolated")]),
        "deepseek": pre_tokenizers.Sequence([
            split("[\r\n]", "isolated"), split(r"\s?\p{L}+", "isolated"), split(r"\s?\p{P}+", "isolated"),
            split(r"\s+$", "isolated"), pre_tokenizers.Digits(True), letters]),
        "removed": pre_tokenizers.Sequence([split(r"[aeiou]+", "removed"), letters]),
        "with_previous": pre_tokenizers.Sequence([split(r"\s|[,.]", "merged_with_previous"), letters]),
        "with_next": pre_tokenizers.Sequence([split(r"\s|[,.]", "merged_with_next"), letters]),
        "contiguous": pre_tokenizers.Sequence([split(r"\d|\s", "contiguous"), letters]),
        "inverted": pre_tokenizers.Sequence([split(r"\p{L}+|\p{N}+", "removed", True), letters]),
        "literal": pre_tokenizers.Sequence([pre_tokenizers.Split("e", "merged_with_previous"), letters]),
        "white_space": pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), letters]),
    }  # fmt: skip
    made = {f"bpe_{name}": train_bpe(texts, value) for name, value in pre.items()}
    made["bpe_words"] = train_bpe(texts, pre_tokenizers.Whitespace(), bytes_=False, unk_token="<unk>")
    made["bpe_fused"] = train_bpe(texts[:200], pre_tokenizers.WhitespaceSplit(), bytes_=False, unk_token="<unk>", fuse_unk=True)
    made["bpe_delimiter"] = train_bpe(texts, pre_tokenizers.CharDelimiterSplit(" "), bytes_=False, unk_token="<unk>")
    made["bpe_ignore_merges"] = train_bpe(texts, pre["gpt4"], ignore_merges=True)
    for name, normalizer in {
        "nfc": normalizers.NFC(), "nfd": normalizers.NFD(), "nfkc": normalizers.NFKC(), "nfkd": normalizers.NFKD(),
        "lower": normalizers.Sequence([normalizers.Lowercase(), normalizers.Strip()]),
        "replace": normalizers.Sequence([normalizers.Replace(Regex(" {2,}"), "_"), normalizers.Replace("e", "ee")]),
    }.items():  # fmt: skip
        made[f"bpe_{name}"] = train_bpe(texts, pre["byte_level"], normalizer, normalized=name == "lower")
    llama = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made["llama"] = train_bpe(texts, None, llama, False, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    made["llama"].decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    for scheme in ["always", "first", "never"]:
        metaspace = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=scheme != "first")
        made[f"metaspace_{scheme}"] = train_bpe(
            texts, metaspace, bytes_=False, unk_token="<unk>", byte_fallback=True, fuse_unk=True
        )
    spaces = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()])
    made["unigram"] = train_unigram(texts, spaces, pre_tokenizers.Metaspace())
    made["unigram_bytes"] = train_unigram(texts, normalizers.NFC(), pre_tokenizers.Metaspace(split=False), True)
    template = processors.TemplateProcessing("<|end|> $A", special_tokens=[("<|end|>", made["llama"].token_to_id("<|end|>"))])
    made["llama"].post_processor = template
    return made


def from_gguf(path: str) -> tokenizers.Tokenizer:
    """The tokenizers library's view of a byte-level BPE file of family smollm or gpt-2."""
    fields = gguf.GGUFReader(path).fields

    def value(key):
        return fields[f"tokenizer.ggml.{key}"].contents()

    vocab = {token: i for i, token in enumerate(value("tokens"))}
    merges = [tuple(merge.split(" ")) for merge in value("merges")]
    made = tokenizers.Tokenizer(models.BPE(vocab, merges))
    steps = {"gpt-2": [], "mpt": [], "smollm": [pre_tokenizers.Digits(True)]}[value("pre")]
    made.pre_tokenizer = pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    kinds = value("token_type") if "tokenizer.ggml.token_type" in fields else []
    for token, kind in zip(value("tokens"), kinds, strict=False):
        if kind in (3, 4):
            made.add_tokens([AddedToken(token, special=kind == 3, normalized=False)])
    return made


def ours(program: str, path: pathlib.Path, texts: list[bytes]) -> list[tuple[list[int], bytes]]:
    lines = b"".join(base64.b64encode(text) + b"\n" for text in texts)
    answer = subprocess.run([program, str(path)], input=lines, stdout=subprocess.PIPE, check=True).stdout
    result = []
    for line in answer.decode().splitlines():
        ids, _, decoded = line.partition("\t")
        result.append(([int(i) for i in ids.split()], base64.b64decode(decoded)))
    assert len(result) == len(texts), (path, len(result), len(texts))
    return result


class Comparison:
    def __init__(self, program: str, rng: random.Random, count: int, only: str):
        self.program = program
        self.texts = varied_texts(count, rng)
        self.invalid = invalid_texts(count // 20, rng)
        self.only = only
        self.failed = False

    def check(self, name: str, path: pathlib.Path, reference, round_trips: bool) -> None:
        """`reference(text)` gives the ids."""
        if self.only not in name:
            return
        differing = 0
        for text, (ids, _) in zip(self.texts, ours(self.program, path, [t.encode() for t in self.texts]), strict=True):
            expected = reference(text)
            if ids == expected:
                continue
            differing += 1
            if differing <= 3:
                print(f"{name}: {text!r}\n  ours      {ids}\n  reference {expected}")
        if round_trips:
            for text, (_, decoded) in zip(self.invalid, ours(self.program, path, self.invalid), strict=True):
                if decoded != text:
                    differing += 1
                    print(f"{name}: {text!r} comes back as {decoded!r}")
        print(f"{name}: {len(self.texts)} texts, {differing} differ")
        self.failed |= differing > 0


# Their vocabularies have all bytes, and nothing is normalized, removed or prefixed.
ROUND_TRIPS = {"bpe_byte_level", "bpe_gpt4", "bpe_digits", "bpe_falcon", "bpe_deepseek", "bpe_contiguous", "bpe_with_next"}


def check_sentencepiece(comparison: Comparison, directory: pathlib.Path, rng: random.Random) -> None:
    """SentencePiece's own models, as GGUF files: BPE and unigram, with and without a prefix and byte tokens."""
    sentences = corpus(rng)
    # A NUL ends a text for SentencePiece, and </s> is never a token in it.
    texts = [text.replace("</s>", "").replace("\x00", "") for text in comparison.texts]
    for name, options in {
        "sp_bpe": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity",
                   "remove_extra_whitespaces": False},
        "sp_bpe_no_prefix": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity",
                             "remove_extra_whitespaces": False, "add_dummy_prefix": False},
        "sp_unigram_nfkc": {"model_type": "unigram"},
        "sp_unigram_bytes": {"model_type": "unigram", "byte_fallback": True, "normalization_rule_name": "nfkc_cf"},
    }.items():  # fmt: skip
        prefix = directory / name
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences), model_prefix=str(prefix), vocab_size=900, character_coverage=1.0,
            hard_vocab_limit=False, minloglevel=2, num_threads=1, **options)  # fmt: skip
        spec = sentencepiece_model_pb2.ModelProto.FromString(pathlib.Path(f"{prefix}.model").read_bytes())
        for piece in spec.pieces:
            piece.score = exact(piece.score)
        model = sentencepiece.SentencePieceProcessor(model_proto=spec.SerializeToString())
        writer = gguf.GGUFWriter(f"{prefix}.gguf", "llama")
        writer.add_tokenizer_model("t5" if options["model_type"] == "unigram" else "llama")
        writer.add_token_list([piece.piece for piece in spec.pieces])
        writer.add_token_scores([piece.score for piece in spec.pieces])
        writer.add_token_types([piece.type for piece in spec.pieces])
        writer.add_unk_token_id(spec.trainer_spec.unk_id)
        writer.add_add_space_prefix(spec.normalizer_spec.add_dummy_prefix)
        writer.add_remove_extra_whitespaces(spec.normalizer_spec.remove_extra_whitespaces)
        if spec.normalizer_spec.precompiled_charsmap:
            writer.add_precompiled_charsmap(spec.normalizer_spec.precompiled_charsmap)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        saved, comparison.texts = comparison.texts, texts
        comparison.check(name, pathlib.Path(f"{prefix}.gguf"), model.encode, name.startswith("sp_bpe"))
        comparison.texts = saved


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenize")
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="compare those whose name has this in it")
    parser.add_argument("--gguf", action="append", default=[])
    args = parser.parse_args()
    rng = random.Random(args.seed)
    comparison = Comparison(args.tokenize, rng, args.texts, args.only)
    with tempfile.TemporaryDirectory() as scratch:
        for path in args.gguf:
            made = from_gguf(path)
            comparison.check(pathlib.Path(path).name, pathlib.Path(path), lambda t: made.encode(t).ids, False)  # noqa: B023
        for name, made in trained(rng).items():
            directory = pathlib.Path(scratch) / name
            directory.mkdir()
            made.save(str(directory / "tokenizer.json"))
            reference = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
            comparison.check(
                name, directory, lambda t: reference.encode(t, add_special_tokens=False).ids, name in ROUND_TRIPS  # noqa: B023
            )
        check_sentencepiece(comparison, pathlib.Path(scratch), rng)
    return 1 if comparison.failed else 0


if __name__ == "__main__":
    sys.exit(main())
