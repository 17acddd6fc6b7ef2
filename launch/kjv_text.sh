#!/usr/bin/env bash
# Writes runs/data/kjv-train.txt and kjv-held-out.txt: the King James Bible from Debian's bible-kjv-text (public domain
# outside of the United Kingdom, 4.4 MB), its last 5 % held out.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p runs/data
all=runs/data/kjv.txt
bible -f 'Gen1:1-Rev22:21' > "$all"
size=$(stat -c %s "$all")
held_out=$((size / 20))
head -c $((size - held_out)) "$all" > runs/data/kjv-train.txt
tail -c "$held_out" "$all" > runs/data/kjv-held-out.txt
echo "King James Bible from Debian's bible-kjv-text (its licence: /usr/share/doc/bible-kjv-text/copyright): $size bytes, the last $held_out held out" >&2
