"""Reads a long text once, keeps its state, and asks several questions from there.

    python prefix_states.py MODEL FILE QUESTION...
"""

import sys
import time

import natrix


def main(model_path: str, file: str, *questions: str) -> None:
    model = natrix.open(model_path)
    text = model.session()
    began = time.perf_counter()
    with open(file, "rb") as source:
        while piece := source.read(1 << 16):
            text.feed(piece)
    print(f"read {text.position} tokens in {time.perf_counter() - began:.1f} s")
    text.save("prefix.state")  # natrix generate --state-in continues from it, too
    for question in questions:
        fork = text.fork()  # the prefix is not read again
        fork.feed(question)
        print(question + "".join(fork.generate(tokens=40, temp=0)))


if __name__ == "__main__":
    main(*sys.argv[1:])
