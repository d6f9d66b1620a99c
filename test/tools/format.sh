#!/bin/sh
# Is every C and C++ file formatted as .clang-format says?   format.sh CLANG_FORMAT ROOT
set -eu
cd "$2"
files=$(find lib include bench test docs -name '*.[ch]' -o -name '*.[ch]pp')
[ -n "$files" ]
# shellcheck disable=SC2086
"$1" --dry-run -Werror $files
