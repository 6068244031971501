"""Expected scores of written answers, by the SQuAD 1.1 evaluation's definition, with Python's own regular expressions and strings.

  python3 tests/reference/squad_metrics.py > tests/golden/data/squad_metrics.jsonl
"""
import collections
import json
import random
import re
import string


def words(text: str) -> list[str]:
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def f1(answer: str, reference: str) -> float:
    ours, theirs = words(answer), words(reference)
    same = sum((collections.Counter(ours) & collections.Counter(theirs)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(ours), same / len(theirs)
    return 2 * precision * recall / (precision + recall)


CASES = [
    ("Denver Broncos", ["Denver Broncos", "The Denver Broncos"]),
    ("the the cat", ["cat"]),
    ("", ["x"]),
    ("The", ["a"]),
    ("U.S.A.", ["USA", "United States"]),
    ("state-of-the-art", ["stateoftheart"]),
    ("l'été à Paris", ["L’ÉTÉ À PARIS", "ete a paris"]),
    ("a\u00a0b c", ["b c"]),
    ("3,000 men", ["3000 men"]),
    ("ΑΒΓ δ", ["αβγ Δ"]),
    ("an\u2013the", ["\u2013"]),
    ("the_end", ["theend"]),
    ("a1 a", ["a1"]),
    ("日本 の the 本", ["日本 本"]),
]


def main() -> None:
    random.seed(4)
    vocabulary = ["the", "a", "An", "cat", "Cat.", "sat", "42", "4,2", "on", "“mat”", "é", "THE", "-", "dog's", "\t"]
    cases = list(CASES)
    for _ in range(40):
        text = lambda: " ".join(random.choice(vocabulary) for _ in range(random.randrange(0, 7)))
        cases.append((text(), [text() for _ in range(random.randrange(1, 4))]))
    for answer, references in cases:
        exact = any(words(answer) == words(reference) for reference in references)
        best = max(f1(answer, reference) for reference in references)
        print(json.dumps({"answer": answer, "references": references, "f1": best, "exact": exact}, ensure_ascii=False))


if __name__ == "__main__":
    main()
