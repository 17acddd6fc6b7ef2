#!/usr/bin/env bash
# Completion scripts and manual pages hold every command and flag that --help shows, and do what they are for.
#
#   completion_test.sh PROGRAM
#
# What needs zsh, fish or groff is left out where they are missing.
set -euo pipefail
program=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

failed=0
fail() {
  echo "FAILED: $1" >&2
  failed=1
}
has() { command -v "$1" >/dev/null || { echo "$1 is not installed: left out" && false; }; }

"$program" describe --out share
bash_script=share/bash-completion/completions/natrix
zsh_script=share/zsh/site-functions/_natrix
fish_script=share/fish/vendor_completions.d/natrix.fish
for shell in bash zsh fish; do
  "$program" completion $shell >$shell
  script=${shell}_script
  cmp $shell "${!script}" || fail "completion $shell prints something else than describe writes"
done

# grep -q would end before its input does, which pipefail takes for a failure.
# Flags as --help prints them: "  -o,--out TEXT    …".
flags_of() { "$program" "$@" --help | sed -nE 's/^  (-[^ ]+).*/\1/p' | tr ',' '\n'; }
mapfile -t commands < <("$program" --help | sed -n '/^Subcommands:/,$s/^  \([a-z]*\) .*/\1/p')
[ ${#commands[@]} -gt 8 ] || fail "only ${#commands[@]} commands were found in --help"

in_zsh() {  # COMMAND FLAG: within that command's part
  sed -n "/^    $1)\$/,/^      ;;\$/p" "$zsh_script" | grep -E -- "\)?$2[=+]?\[" >/dev/null
}
for command in "${commands[@]}"; do
  page=share/man/man1/natrix-$command.1
  grep -qF "natrix\\-$command" share/man/man1/natrix.1 || fail "natrix(1) lacks $command"
  grep -qE "^    $command\)" "$bash_script" || fail "bash lacks $command"
  grep -qF "'$command:" "$zsh_script" || fail "zsh lacks $command"
  grep -qF -- "-a $command " "$fish_script" || fail "fish lacks $command"
  for flag in $(flags_of "$command"); do
    grep -qF -- "${flag//-/\\-}\\fR" "$page" || fail "$page lacks $flag"
    sed -n "/^    $command)\$/,/^      ;;\$/p" "$bash_script" | grep -E -- "[ ']${flag}[ ']" >/dev/null ||
      fail "bash lacks $command $flag"
    in_zsh "$command" "$flag" || fail "zsh lacks $command $flag"
    name=${flag#-} long=${flag#--}
    if [ "$long" != "$flag" ]; then word="-l $long"; else word="-s $name"; fi
    grep -F "__fish_seen_subcommand_from $command'" "$fish_script" | grep -F -- " $word " >/dev/null ||
      fail "fish lacks $command $flag"
  done
done
! grep -qw describe "$bash_script" "$zsh_script" "$fish_script" share/man/man1/natrix.1 || fail "a hidden command shows"

# bash: what a user gets behind these words; the last is being typed.
bash -n "$bash_script" || fail "bash cannot read its script"
touch "my run.yaml" notes.txt
completed() {  # WORDS…, as bash splits them: = is a word of its own
  # shellcheck disable=SC2016  # another bash expands it
  local run='source "$1"; shift; COMP_WORDS=(natrix "$@"); COMP_CWORD=$#; _natrix; printf "%s\n" "${COMPREPLY[@]}"'
  bash -c "$run" bash "$bash_script" "$@" | sort | tr '\n' ' '
}
expect() {  # EXPECTED WORDS…
  local found
  found=$(completed "${@:2}")
  [ "${found% }" = "$1" ] || fail "natrix ${*:2}: '$found'; expected '$1'"
}
expect "generate gradients" g
expect "--help" --he
expect "--version" --v
expect "--temp --temperature" generate --te
expect "--top" plan --to
expect "my run.yaml" train my
expect "notes.txt" generate --prompt-file no
expect "notes.txt" generate -f notes.txt --state-in = no
expect "notes.txt" eval runs --data no
expect "" eval --context no
expect "" eval --context = no
expect "bash" completion b
expect "--json" train notes.txt --js
[[ $(bash -c 'source "$1"; complete -p natrix' bash "$bash_script") == *"-F _natrix natrix" ]] ||
  fail "bash does not use it"

if has fish; then
  completed_by_fish() {
    fish --no-config -c "source '$fish_script'; complete -C '$1'" | cut -f 1 | tr '\n' ' '
  }
  [ "$(completed_by_fish 'natrix gr')" = "gradients " ] || fail "fish: a command"
  [ "$(completed_by_fish 'natrix generate --temperat')" = "--temperature " ] || fail "fish: a flag"
  [ "$(completed_by_fish 'natrix completion z')" = "zsh " ] || fail "fish: a choice"
  [ "$(completed_by_fish 'natrix train no')" = "notes.txt " ] || fail "fish: a file"
fi
if has zsh; then
  zsh -n "$zsh_script" || fail "zsh cannot read its script"
fi
if has groff; then
  for page in share/man/man1/*.1; do
    warnings=$(groff -man -Tutf8 -ww "$page" 2>&1 >/dev/null)
    [ -z "$warnings" ] || fail "$page: $warnings"
  done
fi
exit $failed
