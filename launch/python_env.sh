#!/usr/bin/env bash
# Prints a Python interpreter that has the packages named, for what compares Natrix with others:
#
#   python=$(launch/python_env.sh NAME PACKAGE…)      MODULE=PACKAGE where a package is imported by another name
#
# PYTHON, where it is set; else that of a virtual environment outside of the repository, in $VENV (default
# ~/.cache/natrix/NAME), which is made where a package is missing and downloads a gigabyte once.
set -euo pipefail
name=$1
shift
if [ -n "${PYTHON:-}" ]; then
  echo "$PYTHON"
  exit
fi
venv=${VENV:-$HOME/.cache/natrix/$name}
imports=$(printf 'import %s; ' "${@%%=*}")
if ! "$venv/bin/python" -c "$imports" 2>/dev/null; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  # PyPI's own torch brings CUDA along, three gigabytes; it serves where the other index cannot be reached.
  "$venv/bin/pip" install --quiet torch --index-url https://download.pytorch.org/whl/cpu ||
    "$venv/bin/pip" install --quiet torch
  "$venv/bin/pip" install --quiet "${@#*=}"
fi >&2
echo "$venv/bin/python"
