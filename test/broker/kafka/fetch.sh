#!/bin/sh
# Prints the folder with Kafka's jars, which Maven brings once; outside of the source tree, so that it lasts.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../common.sh"
need java openjdk-17-jre-headless
cache=${BROADCASTER_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/broadcaster-tests}
jars=$cache/kafka-$(cksum < "$here/pom.xml" | cut -d ' ' -f 1)
if [ ! -d "$jars" ]; then
  need mvn maven
  mkdir -p "$cache"
  new=$(mktemp -d "$cache/new.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  mvn -q -B -Dstyle.color=never -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$new/jars" >&2
  mv -T "$new/jars" "$jars" 2> /dev/null || [ -d "$jars" ] # or somebody else was first
fi
echo "$jars"
