"""The natrix program that comes with this package."""

import os
import pathlib
import sys

PATH = pathlib.Path(__file__).parent / "natrix"


def main() -> None:
    """Becomes the program: signals, exit status and streams are its own."""
    os.execv(PATH, ["natrix", *sys.argv[1:]])
