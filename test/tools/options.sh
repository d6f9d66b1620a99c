#!/bin/sh
# Does the manual page, and the completion, know every option that --help lists?   options.sh BROADCASTER ROOT
set -eu
tool=$1
page=$2/docs/man/broadcaster.1 completion=$2/lib/tool/completion.bash
failed=0
for command in sub pub history backends bench; do
  options=$("$tool" $command --help | grep -o -e '--[a-z][a-z-]*' | sort -u)
  [ -n "$options" ]
  words=$(sed -n "/^            $command) /,/;;/p" "$completion")
  for option in $options; do
    echo "$words" | grep -qE -e "$option([ ']|\$)" || { echo "the completion of $command lacks $option"; failed=1; }
    [ $command = bench ] || [ "$option" = --help ] ||
      sed 's/\\-/-/g' "$page" | sed -n "/^.SH $(echo $command | tr a-z A-Z)\$/,/^.SH /p" | grep -qFe "$option" ||
      { echo "the manual page lacks $option of $command"; failed=1; }
  done
done
bash -n "$completion" || failed=1
if command -v groff > /dev/null; then
  said=$(groff -man -Tutf8 -ww "$page" 2>&1 > /dev/null)
  [ -z "$said" ] || { echo "$said"; failed=1; }
fi
exit $failed
